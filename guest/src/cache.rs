//! What the rules need of the store. The WIT interface `cache` says what each item means.

use alloc::string::String;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The store was not reached or did not answer in time. A write may have happened.
    Unavailable(String),
    /// The host or the store does not allow this.
    Denied(String),
    /// An argument is bad, or the key holds something that is not a string.
    Invalid(String),
}

/// A value that the store has under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Larger for every later value of the same key.
    pub revision: u64,
    /// The store keeps the value for at least this many milliseconds.
    pub ttl_ms: u64,
}

/// What the store has under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The whole value; a part of it if it is a foreign value.
    pub value: String,
    /// The revision it was set with; 0 for a foreign value.
    pub revision: u64,
    /// Milliseconds left; none if it never expires.
    pub ttl_ms: Option<u64>,
}

/// The answers of [`Cache::set_if_absent`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetOutcome {
    /// The store has the value under the key.
    Stored(Stored),
    /// The store has another value under the key, and the caller is not in the queue.
    Occupied(Entry),
}

/// The answers of [`Cache::extend_if_equal`] and [`Cache::replace_if_equal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtendOutcome {
    /// The key has the new time to live.
    Extended(Stored),
    /// The store had nothing under the key.
    Absent,
    /// The store has another value under the key.
    Different,
}

/// The answers of [`Cache::delete_if_equal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteOutcome {
    /// The value is gone. The next caller in the queue may already have the key.
    Deleted,
    /// The store had nothing under the key.
    Absent,
    /// The store has another value under the key.
    Different,
}

/// An expiring store with a queue for every key. Every function is one atomic step; a call that waits is two.
pub trait Cache {
    /// Stores `value` unless the store has another value under the key. If it has, waits in its queue for up to `wait_ms`.
    ///
    /// # Errors
    /// As the store reports them; so do all functions here.
    fn set_if_absent(&mut self, key: &str, value: &str, ttl_ms: Option<u64>, wait_ms: u64)
    -> Result<SetOutcome, Error>;

    /// Replaces the time to live if the store has exactly `value` under the key.
    ///
    /// # Errors
    /// As the store reports them.
    fn extend_if_equal(&mut self, key: &str, value: &str, ttl_ms: u64) -> Result<ExtendOutcome, Error>;

    /// Puts `replacement` in the place of `value`, with its revision and a new time to live, if the store has exactly `value` under the key.
    ///
    /// # Errors
    /// As the store reports them.
    fn replace_if_equal(
        &mut self,
        key: &str,
        value: &str,
        replacement: &str,
        ttl_ms: u64,
    ) -> Result<ExtendOutcome, Error>;

    /// Deletes the key if the store has exactly `value` there.
    ///
    /// # Errors
    /// As the store reports them.
    fn delete_if_equal(&mut self, key: &str, value: &str) -> Result<DeleteOutcome, Error>;

    /// Reads what the store has under the key.
    ///
    /// # Errors
    /// As the store reports them.
    fn get(&mut self, key: &str) -> Result<Option<Entry>, Error>;
}
