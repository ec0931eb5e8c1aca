//! What the rules ask of the store. The WIT interface `cache` says what each item means.

use alloc::string::String;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The store was not reached or did not answer in time; a write may have happened.
    Unavailable(String),
    /// The host or the store does not allow this.
    Denied(String),
    /// A bad argument, or something that is no value of ours under the key.
    Invalid(String),
}

/// A value that now lies under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Rises with every successful set of the key.
    pub revision: u64,
    /// Milliseconds left.
    pub ttl_ms: u64,
}

/// What lies under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The whole value.
    pub value: String,
    /// The revision it was set with, or 0.
    pub revision: u64,
    /// Milliseconds left; none if it never expires.
    pub ttl_ms: Option<u64>,
}

/// The answers of [`Cache::set_if_absent`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Set {
    /// The value now lies under the key.
    Stored(Stored),
    /// Another value lies there.
    Occupied(Entry),
}

/// The answers of [`Cache::extend_if_equal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extend {
    /// The key has the new time to live.
    Extended(Stored),
    /// There is no such key.
    Absent,
    /// Another value lies there.
    Different,
}

/// The answers of [`Cache::delete_if_equal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delete {
    /// The key is gone.
    Deleted,
    /// There was no such key.
    Absent,
    /// Another value lies there.
    Different,
}

/// An expiring store whose every function is one atomic step.
pub trait Cache {
    /// Stores `value` unless the key is taken by another value.
    ///
    /// # Errors
    /// As the store has them; so have all functions here.
    fn set_if_absent(&mut self, key: &str, value: &str, ttl_ms: Option<u64>) -> Result<Set, Error>;

    /// Replaces the time to live if exactly `value` lies there.
    ///
    /// # Errors
    /// As the store has them.
    fn extend_if_equal(&mut self, key: &str, value: &str, ttl_ms: u64) -> Result<Extend, Error>;

    /// Deletes the key if exactly `value` lies there.
    ///
    /// # Errors
    /// As the store has them.
    fn delete_if_equal(&mut self, key: &str, value: &str) -> Result<Delete, Error>;

    /// Reads what lies under the key.
    ///
    /// # Errors
    /// As the store has them.
    fn get(&mut self, key: &str) -> Result<Option<Entry>, Error>;

    /// Waits until the key may be absent and returns the milliseconds left of `timeout_ms`.
    ///
    /// # Errors
    /// As the store has them.
    fn wait_until_absent(&mut self, key: &str, timeout_ms: u64) -> Result<u64, Error>;
}
