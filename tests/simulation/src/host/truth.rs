//! What servers have under the keys of locks, and what became of it.

use std::time::Duration;

use super::asked::label_of;
use super::invariants::HostInvariant::{LeasesLast, LossesAreReported};
use super::ledger::{Lease, Ledger};
use super::site::Entry;

/// What is under the key of a lock.
#[derive(Debug, Default)]
pub(super) struct Truth {
    pub(super) entry: Option<Entry>,
    /// Since when there is nothing.
    pub(super) free_since: Duration,
}

/// A value that was stored.
#[derive(Debug)]
pub(super) struct Value {
    pub(super) name: &'static str,
    /// Its place among all values that were stored.
    pub(super) order: u64,
    /// Since when it is stored.
    pub(super) since: Duration,
    pub(super) last_seen: Duration,
    /// The server lost data since it was stored.
    pub(super) excused: bool,
}

impl Ledger {
    /// Notes what is under a key now.
    pub(super) fn observed(&mut self, name: &'static str, entry: Option<Entry>, now: Duration) {
        let truth = self.truths.entry(name).or_default();
        let before = std::mem::replace(&mut truth.entry, entry.clone());
        let (old, new) = (before.as_ref().map(|entry| &entry.value), entry.as_ref().map(|entry| &entry.value));
        if let (Some(before), None) = (&before, &entry) {
            truth.free_since = now.min(before.expires);
        }
        if let Some(value) = old.and_then(|old| self.values.get_mut(old)) {
            let expired = before.as_ref().map_or(now, |before| before.expires);
            value.last_seen = if new == old { now } else { value.last_seen.max(now.min(expired)) };
        }
        if let (Some(entry), true) = (&entry, old != new) {
            self.stored(name, &entry.value, now);
        }
        let lacking = self.valid(now).find(|lease| lease.name == name && Some(&lease.token) != new);
        let tell =
            |lease: &Lease| format!("{} has {name} until {:?}, the store {entry:?}", lease.token, lease.deadline);
        if let Some(what) = lacking.map(tell) {
            self.violated(LeasesLast, what);
        }
    }

    fn stored(&mut self, name: &'static str, value: &str, now: Duration) {
        self.check_wanted(name, value);
        self.stores += 1;
        // A waiter that did not hear of its lock may get it again.
        self.values
            .insert(value.to_owned(), Value { name, order: self.stores, since: now, last_seen: now, excused: false });
        self.check_order(name, value, now);
        if let Some(waiter) = self.waiters.get_mut(value) {
            waiter.stored = true;
        }
        self.check_guards(name, value);
    }

    /// No guard of another caller says that it holds the lock.
    fn check_guards(&mut self, name: &str, value: &str) {
        let others = self.guards.iter().filter(|(of, token, _)| of == name && token != value);
        let held = others.filter(|(_, token, guard)| {
            let excused = self.values.get(token).is_none_or(|value| value.excused);
            !excused && guard.upgrade().is_some_and(|guard| guard.is_held())
        });
        let held: Vec<_> = held.map(|(_, token, _)| token.clone()).collect();
        if let Some(token) = held.first() {
            let what = format!("{} has {name}, and the guard of {token} does not know", label_of(value));
            self.violated(LossesAreReported, what);
        }
    }
}
