//! The contract `cache`, in virtual time.

use crate::table::{MILLISECOND, Micros};

/// A value that the store has under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Larger for every later value of the same key.
    pub revision: u64,
    /// Until when the store keeps the value at least.
    pub deadline: Micros,
}

/// What the store has under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The whole value.
    pub value: String,
    /// The revision it was set with.
    pub revision: u64,
    /// The time left before the key expires.
    pub left: Micros,
}

/// The answers of `set-if-absent`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetOutcome {
    /// The store has the value under the key.
    Stored(Stored),
    /// The store has another value under the key.
    Occupied(Entry),
}

/// The answers of `extend-if-equal`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtendOutcome {
    /// The key has the new time to live.
    Extended(Stored),
    /// The store had nothing under the key.
    Absent,
    /// The store has another value under the key.
    Different,
}

/// The answers of `delete-if-equal`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteOutcome {
    /// The value is gone.
    Deleted,
    /// The store had nothing under the key.
    Absent,
    /// The store has another value under the key.
    Different,
}

/// The store was not reached or did not answer in time. A write may have happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unavailable;

/// Whole milliseconds of a time that is left.
pub(crate) fn millis_floor(left: Micros) -> u64 {
    left / MILLISECOND
}
