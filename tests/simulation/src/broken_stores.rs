//! Stores that break one rule each. They are there to be caught.

use locker_host::{Delete, Extend, Set, Stored};

use crate::store::{Answer, Applied, MILLISECOND, Micros, Request, Rules, Slot, Table};

/// Compares, and deletes some time later.
#[derive(Debug)]
pub struct ComparesThenDeletes;

impl Rules for ComparesThenDeletes {
    fn delete_if_equal(&self, table: &mut Table, key: &str, value: &str) -> Applied {
        match table.slots.get(key) {
            None => Applied::Answer(Answer::Delete(Delete::Absent)),
            Some(slot) if slot.value == value => Applied::Then(Request::Remove { key: key.to_owned() }),
            Some(_) => Applied::Answer(Answer::Delete(Delete::Different)),
        }
    }
}

/// Takes a value for another that begins alike.
#[derive(Debug)]
pub struct ComparesPrefixes;

impl Rules for ComparesPrefixes {
    fn equal(&self, present: &str, value: &str) -> bool {
        const PREFIX: usize = 12;
        present.bytes().take(PREFIX).eq(value.bytes().take(PREFIX))
    }
}

/// Stores over what is there.
#[derive(Debug)]
pub struct Overwrites;

impl Rules for Overwrites {
    fn set_if_absent(&self, table: &mut Table, now: Micros, key: &str, value: &str, ttl_ms: u64) -> Applied {
        Applied::Answer(Answer::Set(self.put(table, now, key, value, ttl_ms)))
    }
}

/// Does not know a value again that it has stored already.
#[derive(Debug)]
pub struct RefusesRepetition;

impl Rules for RefusesRepetition {
    fn set_if_absent(&self, table: &mut Table, now: Micros, key: &str, value: &str, ttl_ms: u64) -> Applied {
        let set = match table.entry(key, now) {
            None => self.put(table, now, key, value, ttl_ms),
            Some(entry) => Set::Occupied(entry),
        };
        Applied::Answer(Answer::Set(set))
    }
}

/// Stores, and says some time later when that expires.
#[derive(Debug)]
pub struct SetsThenExpires;

impl Rules for SetsThenExpires {
    fn put(&self, table: &mut Table, now: Micros, key: &str, value: &str, _: u64) -> Set {
        // About a century.
        const FOR_EVER_MS: u64 = 1 << 41;
        crate::store::Honest.put(table, now, key, value, FOR_EVER_MS)
    }

    fn set_if_absent(&self, table: &mut Table, now: Micros, key: &str, value: &str, ttl_ms: u64) -> Applied {
        match table.entry(key, now) {
            None => {
                self.put(table, now, key, value, ttl_ms);
                Applied::Then(Request::Expire { key: key.to_owned(), ttl_ms })
            }
            Some(_) => crate::store::Honest.set_if_absent(table, now, key, value, ttl_ms),
        }
    }
}

/// Keeps what it stores a little less long than it says.
#[derive(Debug)]
pub struct ExpiresEarly;

impl Rules for ExpiresEarly {
    fn put(&self, table: &mut Table, now: Micros, key: &str, value: &str, ttl_ms: u64) -> Set {
        let set = crate::store::Honest.put(table, now, key, value, ttl_ms);
        if let Some(slot) = table.slots.get_mut(key) {
            slot.expires -= 2 * MILLISECOND;
        }
        set
    }
}

/// Begins to count anew whenever it stores.
#[derive(Debug)]
pub struct ForgetsRevisions;

impl Rules for ForgetsRevisions {
    fn next_revision(&self, table: &mut Table, key: &str, _: Micros) -> u64 {
        table.fences.insert(key.to_owned(), 1);
        1
    }
}

/// Counts, and does not look at the clock: it begins anew when it has forgotten.
#[derive(Debug)]
pub struct CountsOnly;

impl Rules for CountsOnly {
    fn next_revision(&self, table: &mut Table, key: &str, _: Micros) -> u64 {
        let revision = table.fences.get(key).copied().unwrap_or(0) + 1;
        table.fences.insert(key.to_owned(), revision);
        revision
    }
}

/// Looks at the clock, in milliseconds, and does not count.
#[derive(Debug)]
pub struct LooksAtTheClockOnly;

impl Rules for LooksAtTheClockOnly {
    fn next_revision(&self, table: &mut Table, key: &str, now: Micros) -> u64 {
        let revision = table.wall(now) / MILLISECOND;
        table.fences.insert(key.to_owned(), revision);
        revision
    }
}

/// Takes a lock that it is asked to extend.
#[derive(Debug)]
pub struct ExtendCreates;

impl Rules for ExtendCreates {
    fn extend_if_equal(&self, table: &mut Table, now: Micros, key: &str, value: &str, ttl_ms: u64) -> Applied {
        if !table.slots.contains_key(key)
            && let Set::Stored(stored) = self.put(table, now, key, value, ttl_ms)
        {
            return Applied::Answer(Answer::Extend(Extend::Extended(stored)));
        }
        crate::store::Honest.extend_if_equal(table, now, key, value, ttl_ms)
    }
}

/// Extends whatever lies there.
#[derive(Debug)]
pub struct ExtendsAnything;

impl Rules for ExtendsAnything {
    fn extend_if_equal(&self, table: &mut Table, now: Micros, key: &str, _: &str, ttl_ms: u64) -> Applied {
        let revision = table.fence(key);
        let extend = table.slots.get_mut(key).map_or(Extend::Absent, |Slot { expires, .. }| {
            *expires = now + ttl_ms * MILLISECOND;
            Extend::Extended(Stored { revision, ttl: std::time::Duration::from_millis(ttl_ms) })
        });
        Applied::Answer(Answer::Extend(extend))
    }
}
