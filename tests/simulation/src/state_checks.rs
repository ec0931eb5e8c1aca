//! What is checked after each step of a world.

use crate::invariants::Invariant;
use crate::ledger::{Call, Grant, Ledger, covers};
use crate::table::{KEEP_QUEUE, MILLISECOND, Micros, Table};
use crate::world::name_of;

/// More requests than any call should need, and more attempts than one without a wait should make.
const MANY: usize = 200;
const MANY_ATTEMPTS: usize = 8;

impl Ledger {
    pub(crate) fn check(&mut self, now: Micros, table: &Table) {
        self.check_holders(now);
        let uncovered = self.live(now).find(|grant| !covers(table, grant)).map(|grant| {
            let (who, until) = (name_of(grant.host), grant.deadline / MILLISECOND);
            format!("{who} counts on {} until {until} ms", grant.key)
        });
        if let Some(what) = uncovered {
            return self.violate(Invariant::LeasesLast, what);
        }
        self.check_slots(now, table);
        self.check_queues(now, table);
        let busy = |call: &Call| call.ended.is_none() && (call.requests > MANY || call.attempts > MANY_ATTEMPTS);
        if let Some(busy) = self.calls.iter().position(busy) {
            self.stopped(busy, "it asks and asks");
        }
    }

    fn check_slots(&mut self, now: Micros, table: &Table) {
        for (key, slot) in table.slots.iter().filter(|(_, slot)| slot.expires > now) {
            let allowed = self.longest.get(&slot.value).copied().unwrap_or(0);
            if slot.expires > allowed {
                let what = format!("{key} is kept for longer than any caller asked");
                return self.violate(Invariant::NothingOutlivesItsTime, what);
            }
            if self.withdrawn.contains(&slot.value) {
                let what = format!("{key} is held by {}", self.whose(&slot.value));
                return self.violate(Invariant::WithdrawnStaysWithdrawn, what);
            }
            if self.is_orphan(&slot.value) {
                let what = format!("{key} is held by {} without an owner", self.whose(&slot.value));
                return self.violate(Invariant::FailedCallsLeaveNothing, what);
            }
        }
    }

    fn check_queues(&mut self, now: Micros, table: &Table) {
        for (key, queue) in &table.queues {
            for entry in &queue.entries {
                if self.withdrawn.contains(&entry.value) {
                    let what = format!("{} waits for {key}", self.whose(&entry.value));
                    return self.violate(Invariant::WithdrawnStaysWithdrawn, what);
                }
                let gone = self.gone.get(&entry.client).copied();
                let reported = self.reported.get(key).copied().unwrap_or(0);
                let outlived = match gone {
                    // Reports of others keep the queue; the entry goes when it is next, or with the queue.
                    Some(gone) => now > gone.max(reported) + KEEP_QUEUE,
                    None => self.is_orphan(&entry.value),
                };
                if outlived {
                    let what = format!("{} waits for {key} without a caller", self.whose(&entry.value));
                    return self.violate(Invariant::EntriesEndWithTheirCallers, what);
                }
            }
        }
    }

    /// Whether a value that is in the store or in a queue belongs to a call that has ended, and is neither granted nor being withdrawn. A
    /// store that has lost data may have it back.
    fn is_orphan(&self, value: &str) -> bool {
        let Some(call) = self.minted.get(value).and_then(|minted| minted.call).map(|call| &self.calls[call]) else {
            return false;
        };
        let host_is_gone = self.gone.contains_key(&call.host);
        let broke = self.broke.is_some_and(|broke| broke >= call.began);
        let granted = self.grants.iter().any(|grant| grant.token == value && !grant.over);
        let pending = self.failed.iter().any(|(_, failed)| failed == value);
        let released = self.grants.iter().any(|grant| grant.token == value && grant.over);
        let releasing = released && self.is_in_use(value);
        call.ended.is_some() && !host_is_gone && !broke && !granted && !pending && !releasing
    }

    /// Whether a call that releases or extends a value has not been answered for sure.
    fn is_in_use(&self, value: &str) -> bool {
        !self.calls.iter().any(|call| call.removed.contains(value))
    }

    /// All is over. What is in doubt is withdrawn by now.
    pub(crate) fn over(&mut self, table: &Table) {
        let slots = table.slots.values().map(|slot| &slot.value);
        let entries = table.queues.values().flat_map(|queue| &queue.entries).map(|entry| &entry.value);
        let left = slots.chain(entries).find(|left| self.failed.iter().any(|(_, value)| value == *left));
        if let Some(left) = left.cloned() {
            let what = format!("{} is left", self.whose(&left));
            self.violate(Invariant::FailedCallsLeaveNothing, what);
        }
    }

    /// What callers may believe that they hold.
    pub(crate) fn live(&self, now: Micros) -> impl Iterator<Item = &Grant> {
        self.grants.iter().filter(move |grant| !grant.over && !grant.lost && grant.deadline > now)
    }
}
