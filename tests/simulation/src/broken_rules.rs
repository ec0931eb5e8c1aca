//! Stores that break one rule of the lock each. The tests must catch them.

use crate::queue::{self, Served};
use crate::request::{Applied, Outcome, Step};
use crate::rules::{Honest, Rules, Script};
use crate::table::MILLISECOND;

/// Compares, and deletes some time later.
#[derive(Debug)]
pub struct ComparesThenDeletes;

impl Rules for ComparesThenDeletes {
    fn delete(&self, script: &mut Script<'_>, key: &str, value: &str) -> Applied {
        match script.table.slots.get(key) {
            None => Applied::Outcome(Outcome::Absent),
            Some(slot) if slot.value == value => Applied::Then(Step::Remove { key: key.to_owned() }),
            Some(_) => Applied::Outcome(Outcome::Different),
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
    fn set(&self, script: &mut Script<'_>, key: &str, value: &str, ttl_ms: u64) -> Applied {
        Applied::Outcome(self.grant(script, key, value, ttl_ms))
    }
}

/// Does not recognise a value that it has stored already.
#[derive(Debug)]
pub struct RefusesRepetition;

impl Rules for RefusesRepetition {
    fn set(&self, script: &mut Script<'_>, key: &str, value: &str, ttl_ms: u64) -> Applied {
        match script.table.entry(key, script.now) {
            Some(entry) => Applied::Outcome(Outcome::Occupied(entry)),
            None => Honest.set(script, key, value, ttl_ms),
        }
    }
}

/// Stores, and sets the time to live some time later.
#[derive(Debug)]
pub struct SetsThenExpires;

impl Rules for SetsThenExpires {
    fn set(&self, script: &mut Script<'_>, key: &str, value: &str, ttl_ms: u64) -> Applied {
        // About a century.
        const FOR_EVER_MS: u64 = 1 << 41;
        if script.table.slots.contains_key(key) || script.table.queues.contains_key(key) {
            return Honest.set(script, key, value, ttl_ms);
        }
        self.grant(script, key, value, FOR_EVER_MS);
        Applied::Then(Step::Expire { key: key.to_owned(), ttl_ms })
    }
}

/// Keeps what it stores a little less long than it says.
#[derive(Debug)]
pub struct ExpiresEarly;

impl Rules for ExpiresEarly {
    fn grant(&self, script: &mut Script<'_>, key: &str, value: &str, ttl_ms: u64) -> Outcome {
        let granted = Honest.grant(script, key, value, ttl_ms);
        if let Some(slot) = script.table.slots.get_mut(key) {
            slot.expires -= 2 * MILLISECOND;
        }
        granted
    }
}

/// Begins to count anew whenever it stores.
#[derive(Debug)]
pub struct ForgetsFences;

impl Rules for ForgetsFences {
    fn next_fence(&self, script: &mut Script<'_>) -> u64 {
        script.table.counter = 1;
        1
    }
}

/// Counts, and does not use the clock: it begins anew when it has lost its data.
#[derive(Debug)]
pub struct CountsOnly;

impl Rules for CountsOnly {
    fn next_fence(&self, script: &mut Script<'_>) -> u64 {
        script.table.counter += 1;
        script.table.counter
    }
}

/// Uses the clock, in milliseconds, and does not count.
#[derive(Debug)]
pub struct UsesTheClockOnly;

impl Rules for UsesTheClockOnly {
    fn next_fence(&self, script: &mut Script<'_>) -> u64 {
        script.table.counter = script.wall() / MILLISECOND;
        script.table.counter
    }
}

/// Takes a lock that it is asked to extend.
#[derive(Debug)]
pub struct ExtendCreates;

impl Rules for ExtendCreates {
    fn extend(&self, script: &mut Script<'_>, key: &str, value: &str, ttl_ms: u64) -> Outcome {
        if !script.table.slots.contains_key(key)
            && let Outcome::Stored { fence, .. } = self.grant(script, key, value, ttl_ms)
        {
            return Outcome::Extended { fence };
        }
        Honest.extend(script, key, value, ttl_ms)
    }
}

/// Extends any lock.
#[derive(Debug)]
pub struct ExtendsAnything;

impl Rules for ExtendsAnything {
    fn extend(&self, script: &mut Script<'_>, key: &str, _: &str, ttl_ms: u64) -> Outcome {
        let expires = script.now + ttl_ms * MILLISECOND;
        script.table.slots.get_mut(key).map_or(Outcome::Absent, |slot| {
            slot.expires = expires;
            Outcome::Extended { fence: slot.fence }
        })
    }
}

/// Runs requests whose use-by has passed.
#[derive(Debug)]
pub struct IgnoresUseBy;

impl Rules for IgnoresUseBy {
    fn is_late(&self, _: &Script<'_>, _: u64) -> bool {
        false
    }
}

/// Leaves no mark when it withdraws.
#[derive(Debug)]
pub struct LeavesNoMark;

impl Rules for LeavesNoMark {
    fn mark(&self, _: &mut Script<'_>, _: &str, _: &str) {}

    fn mark_repeated(&self, script: &mut Script<'_>, key: &str, value: &str) {
        Honest.mark(script, key, value);
    }
}

/// Leaves no mark for a call whose first attempt may still arrive.
#[derive(Debug)]
pub struct RepeatsUnmarked;

impl Rules for RepeatsUnmarked {
    fn mark_repeated(&self, _: &mut Script<'_>, _: &str, _: &str) {}
}

/// Withdraws whatever holds the lock.
#[derive(Debug)]
pub struct WithdrawsAnything;

impl Rules for WithdrawsAnything {
    fn withdraw(&self, script: &mut Script<'_>, key: &str, value: &str) -> Outcome {
        self.leave_queue(script, key, value);
        self.release(script, key);
        self.mark(script, key, value);
        Outcome::Withdrawn
    }
}

/// Does not look at the queue when it finds the lock free.
#[derive(Debug)]
pub struct LetsAttemptsOvertake;

impl Rules for LetsAttemptsOvertake {
    fn set(&self, script: &mut Script<'_>, key: &str, value: &str, ttl_ms: u64) -> Applied {
        match script.table.entry(key, script.now) {
            None => Applied::Outcome(self.grant(script, key, value, ttl_ms)),
            Some(_) => Honest.set(script, key, value, ttl_ms),
        }
    }

    fn release(&self, script: &mut Script<'_>, key: &str) {
        script.table.slots.remove(key);
    }
}

/// Frees the lock, tells the next waiter that it has it, and stores its value some time later.
#[derive(Debug)]
pub struct AnnouncesFirst;

impl Rules for AnnouncesFirst {
    fn delete(&self, script: &mut Script<'_>, key: &str, value: &str) -> Applied {
        let held = script.table.slots.get(key).is_some_and(|slot| slot.value == value);
        if !held {
            return Honest.delete(script, key, value);
        }
        script.table.slots.remove(key);
        let Served::HandedOff(to, Outcome::Stored { fence, left }) = queue::serve(self, script, key, None) else {
            return Applied::Outcome(Outcome::Deleted);
        };
        script.table.slots.remove(key);
        Applied::Then(Step::Store { key: key.to_owned(), value: to, ttl_ms: left / MILLISECOND, fence })
    }
}
