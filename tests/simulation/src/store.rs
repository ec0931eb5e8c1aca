//! The simulated server: what it keeps, and the rules that it keeps it by.
//!
//! The rules are those of the scripts that run on real servers. Each step is one method of [`Rules`], and a store that is
//! broken on purpose has another in its place.

use std::collections::BTreeMap;
use std::time::Duration;

use locker_host::{Delete, Entry, Extend, Set, Stored};

/// A moment or a span of virtual time, in microseconds.
pub type Micros = u64;

/// Microseconds in a millisecond.
pub const MILLISECOND: Micros = 1000;

/// What the servers' wall clocks say when a world begins, in microseconds.
const DAWN: Micros = 1_700_000_000_000_000;

/// The time to live of what comes without one, in milliseconds.
pub const DEFAULT_TTL_MS: u64 = 30_000;

/// What a client asks of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "they are named as in the interface `cache`")]
pub enum Request {
    Set {
        key: String,
        value: String,
        ttl_ms: Option<u64>,
    },
    Extend {
        key: String,
        value: String,
        ttl_ms: u64,
    },
    Delete {
        key: String,
        value: String,
    },
    Get {
        key: String,
    },
    /// Tell when the key goes away, and how long it has left.
    Watch {
        key: String,
    },
    /// Not for the store, but for what the lock guards. `grant` is how the simulation knows whose write it is.
    Write {
        key: String,
        fence: u64,
        grant: usize,
    },
    /// The second half of a step that should have been one.
    Remove {
        key: String,
    },
    /// The second half of a step that should have been one.
    Expire {
        key: String,
        ttl_ms: u64,
    },
}

impl Request {
    /// What it is about.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::Set { key, .. }
            | Self::Extend { key, .. }
            | Self::Delete { key, .. }
            | Self::Get { key }
            | Self::Watch { key }
            | Self::Write { key, .. }
            | Self::Remove { key }
            | Self::Expire { key, .. } => key,
        }
    }
}

/// What the server answers. Times are what it has left itself.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "they are named as in the interface `cache`")]
pub enum Answer {
    Set(Set),
    Extend(Extend),
    Delete(Delete),
    Get(Option<Entry>),
    /// How long the key has left, if it is there.
    Left(Option<Duration>),
    Written(bool),
}

/// What became of a request.
#[derive(Debug)]
pub enum Applied {
    /// It is done.
    Answer(Answer),
    /// Half of it is done, and others come in between.
    Then(Request),
}

/// What a server keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// What lies under each key.
    pub slots: BTreeMap<String, Slot>,
    /// The last revision of each key.
    pub fences: BTreeMap<String, u64>,
    /// How much further this server's wall clock is than others'.
    pub ahead: Micros,
}

/// What lies under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The whole value.
    pub value: String,
    /// From when on it is gone.
    pub expires: Micros,
}

impl Table {
    /// Forgets what has expired.
    pub fn expire(&mut self, now: Micros) {
        self.slots.retain(|_, slot| slot.expires > now);
    }

    /// The wall clock, in microseconds.
    #[must_use]
    pub fn wall(&self, now: Micros) -> u64 {
        DAWN + self.ahead + now
    }

    /// The last revision of a key, or 0.
    #[must_use]
    pub fn fence(&self, key: &str) -> u64 {
        self.fences.get(key).copied().unwrap_or(0)
    }

    /// What lies under a key, as clients are told of it.
    #[must_use]
    pub fn entry(&self, key: &str, now: Micros) -> Option<Entry> {
        let slot = self.slots.get(key)?;
        Some(Entry { value: slot.value.clone(), revision: self.fence(key), ttl: Some(span(slot.expires - now)) })
    }
}

/// A span of virtual time.
#[must_use]
pub fn span(micros: Micros) -> Duration {
    Duration::from_micros(micros)
}

/// The steps of a server. As they stand here they are right.
pub trait Rules: Send + Sync {
    /// Whether what lies there is what the client means.
    fn equal(&self, present: &str, value: &str) -> bool {
        present == value
    }

    /// More than the last revision, and at least the server's time.
    fn next_revision(&self, table: &mut Table, key: &str, now: Micros) -> u64 {
        let revision = (table.fence(key) + 1).max(table.wall(now));
        table.fences.insert(key.to_owned(), revision);
        revision
    }

    /// Stores a value unless the key holds another.
    fn set_if_absent(&self, table: &mut Table, now: Micros, key: &str, value: &str, ttl_ms: u64) -> Applied {
        let set = match table.entry(key, now) {
            None => self.put(table, now, key, value, ttl_ms),
            Some(entry) if entry.value == value => {
                Set::Stored(Stored { revision: entry.revision, ttl: entry.ttl.unwrap_or_default() })
            }
            Some(entry) => Set::Occupied(entry),
        };
        Applied::Answer(Answer::Set(set))
    }

    /// Stores a value, whatever was there.
    fn put(&self, table: &mut Table, now: Micros, key: &str, value: &str, ttl_ms: u64) -> Set {
        let expires = now + ttl_ms * MILLISECOND;
        table.slots.insert(key.to_owned(), Slot { value: value.to_owned(), expires });
        Set::Stored(Stored { revision: self.next_revision(table, key, now), ttl: Duration::from_millis(ttl_ms) })
    }

    /// Replaces the time to live of a key that holds exactly a value.
    fn extend_if_equal(&self, table: &mut Table, now: Micros, key: &str, value: &str, ttl_ms: u64) -> Applied {
        let revision = table.fence(key);
        let extend = match table.slots.get_mut(key) {
            None => Extend::Absent,
            Some(slot) if self.equal(&slot.value, value) => {
                slot.expires = now + ttl_ms * MILLISECOND;
                Extend::Extended(Stored { revision, ttl: Duration::from_millis(ttl_ms) })
            }
            Some(_) => Extend::Different,
        };
        Applied::Answer(Answer::Extend(extend))
    }

    /// Deletes a key that holds exactly a value.
    fn delete_if_equal(&self, table: &mut Table, key: &str, value: &str) -> Applied {
        let delete = match table.slots.get(key) {
            None => Delete::Absent,
            Some(slot) if self.equal(&slot.value, value) => {
                table.slots.remove(key);
                Delete::Deleted
            }
            Some(_) => Delete::Different,
        };
        Applied::Answer(Answer::Delete(delete))
    }

    /// Takes one step. `table` holds nothing that has expired.
    fn apply(&self, table: &mut Table, now: Micros, request: &Request) -> Applied {
        match request {
            Request::Set { key, value, ttl_ms } => {
                self.set_if_absent(table, now, key, value, ttl_ms.unwrap_or(DEFAULT_TTL_MS))
            }
            Request::Extend { key, value, ttl_ms } => self.extend_if_equal(table, now, key, value, *ttl_ms),
            Request::Delete { key, value } => self.delete_if_equal(table, key, value),
            Request::Get { key } => Applied::Answer(Answer::Get(table.entry(key, now))),
            Request::Watch { key } => Applied::Answer(Answer::Left(table.entry(key, now).and_then(|entry| entry.ttl))),
            Request::Write { .. } => Applied::Answer(Answer::Written(false)),
            Request::Remove { key } => {
                table.slots.remove(key);
                Applied::Answer(Answer::Delete(Delete::Deleted))
            }
            Request::Expire { key, ttl_ms } => {
                let (revision, ttl) = (table.fence(key), Duration::from_millis(*ttl_ms));
                if let Some(slot) = table.slots.get_mut(key) {
                    slot.expires = now + ttl_ms * MILLISECOND;
                }
                Applied::Answer(Answer::Set(Set::Stored(Stored { revision, ttl })))
            }
        }
    }
}

/// A store that keeps all the rules.
#[derive(Debug)]
pub struct Honest;

impl Rules for Honest {}
