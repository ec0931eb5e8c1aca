//! What servers have under the keys of locks, and what became of it.

use std::collections::BTreeSet;
use std::time::Duration;

use super::asked::label_of;
use super::invariants::HostInvariant::{GivenUpIsRemoved, LeasesLast, LossesAreReported, OneFencePerLease};
use super::ledger::{CLOCKS_DIFFER_BY, Lease, Ledger};
use super::resumes::KEEPS_MARK;
use super::site::Entry;
use super::sites::agreed;

/// What is under the key of a lock.
#[derive(Debug, Default)]
pub(super) struct Truth {
    /// At each site.
    entries: Vec<Option<Entry>>,
    /// What so many have as must agree.
    pub(super) entry: Option<Entry>,
    /// Since when there is nothing.
    pub(super) free_since: Duration,
    /// Since when there is this value with this fence.
    pub(super) changed: Duration,
}

/// A value that was stored.
#[derive(Debug)]
pub(super) struct Value {
    pub(super) name: &'static str,
    /// Its place among all values that were stored.
    pub(super) order: u64,
    /// Since when it is stored.
    pub(super) since: Duration,
    /// The server lost data since it was stored.
    pub(super) excused: bool,
}

/// Where a value was stored.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) name: &'static str,
    /// When each site last had it.
    last: Vec<Option<Duration>>,
    /// The fences that it had, at all sites.
    pub(super) fences: BTreeSet<u64>,
}

impl Ledger {
    /// Notes what is under a key now, at each site.
    pub(super) fn observed(&mut self, name: &'static str, entries: Vec<Option<Entry>>, now: Duration) {
        let entry = agreed(&entries, self.majority);
        let truth = self.truths.entry(name).or_default();
        let before = std::mem::replace(&mut truth.entry, entry.clone());
        let (old, new) = (before.as_ref().map(|entry| &entry.value), entry.as_ref().map(|entry| &entry.value));
        if let (Some(before), None) = (&before, &entry) {
            truth.free_since = now.min(before.expires);
            truth.changed = truth.free_since;
        } else if before.as_ref().map(|entry| (&entry.value, entry.fence))
            != entry.as_ref().map(|entry| (&entry.value, entry.fence))
        {
            truth.changed = now;
        }
        let entries_before = std::mem::replace(&mut truth.entries, entries.clone());
        for (site, entry) in entries_before.iter().enumerate().filter_map(|(site, entry)| Some((site, entry.as_ref()?)))
        {
            self.see(name, site, entry, now.min(entry.expires));
        }
        for (site, entry) in entries.iter().enumerate().filter_map(|(site, entry)| Some((site, entry.as_ref()?))) {
            self.see(name, site, entry, now);
            self.check_withdrawn(site, entries_before.get(site).and_then(Option::as_ref), entry, now);
        }
        if let (Some(entry), true) = (&entry, old != new) {
            self.stored(name, &entry.value, now);
            self.check_revoked(&entry.value, entry.fence);
        }
        let lacking = self.valid(now).find(|lease| lease.name == name && Some(&lease.token) != new);
        let tell =
            |lease: &Lease| format!("{} has {name} until {:?}, the store {entry:?}", lease.token, lease.deadline);
        if let Some(what) = lacking.map(tell) {
            self.violated(LeasesLast, what);
        }
        self.check_fences(name, &entries, now);
        self.check_completed(name, now);
    }

    /// No member of a quorum has a lease with a higher fence than its holder, unless a call was repeated.
    fn check_fences(&mut self, name: &str, entries: &[Option<Entry>], now: Duration) {
        if !self.is_quorum() {
            return;
        }
        let has_higher = |lease: &&Lease| {
            let is_its = |entry: &Entry| entry.value == lease.token && entry.fence > lease.fence;
            lease.name == name && !self.chosen.contains(&lease.token) && entries.iter().flatten().any(is_its)
        };
        let lease = self.valid(now).find(has_higher);
        if let Some(what) = lease.map(|lease| format!("{} has {name} with {}: {entries:?}", lease.token, lease.fence)) {
            self.violated(OneFencePerLease, what);
        }
    }

    /// A member of a quorum does not store what was withdrawn from it.
    fn check_withdrawn(&mut self, site: usize, before: Option<&Entry>, entry: &Entry, now: Duration) {
        let is_new = before.is_none_or(|before| before.value != entry.value);
        let withdrawn = self.withdrawn.get(&(entry.value.clone(), site));
        let was_withdrawn = withdrawn.is_some_and(|at| now < *at + KEEPS_MARK - KEEPS_MARK / CLOCKS_DIFFER_BY);
        if is_new && was_withdrawn && self.is_quorum() && self.survived == 0 {
            let what = format!("member {site} stores {}, which was withdrawn from it", entry.value);
            self.violated(GivenUpIsRemoved, what);
        }
    }

    /// A vote that was withdrawn is not stored when it arrives late.
    pub(super) fn check_vote(&mut self, args: &[String], site: usize, before: Option<&Entry>) {
        let [_, value, _, ballot, ..] = args else { return };
        let Ok(ballot) = ballot.parse() else { return };
        let is_new = before.is_none_or(|before| before.value != *value);
        let mut withdrawn = self.withdrawn_votes.iter().filter(|(of, by, _)| of == value && *by == site);
        if is_new && self.survived == 0 && withdrawn.any(|(_, _, ballots)| ballots.contains(&ballot)) {
            let what = format!("member {site} stores the vote {ballot} for {value}, which was withdrawn from it");
            self.violated(GivenUpIsRemoved, what);
        }
    }

    fn see(&mut self, name: &'static str, site: usize, entry: &Entry, at: Duration) {
        let new = || Seen { name, last: Vec::new(), fences: BTreeSet::new() };
        let seen = self.seen.entry(entry.value.clone()).or_insert_with(new);
        if seen.last.len() <= site {
            seen.last.resize(site + 1, None);
        }
        seen.last[site] = seen.last[site].max(Some(at));
        seen.fences.insert(entry.fence);
    }

    /// The sites that have a value.
    pub(super) fn sites_that_have(&self, name: &str, value: &str) -> Vec<usize> {
        let entries = self.truths.get(name).map_or(&[][..], |truth| &truth.entries).iter().enumerate();
        let have = entries.filter(|(_, entry)| entry.as_ref().is_some_and(|entry| entry.value == value));
        have.map(|(site, _)| site).collect()
    }

    /// Whether so many sites as must agree had a value since then, although perhaps not all of them at the same moment.
    pub(super) fn had(&self, value: &str, since: Duration) -> bool {
        self.sites_with(value, since) >= self.majority
    }

    /// How many sites had a value since then.
    pub(super) fn sites_with(&self, value: &str, since: Duration) -> usize {
        let last = self.seen.get(value).map_or(&[][..], |seen| &seen.last);
        last.iter().filter(|last| last.is_some_and(|last| last >= since)).count()
    }

    fn stored(&mut self, name: &'static str, value: &str, now: Duration) {
        self.stores += 1;
        // A replica that takes over may not know what became of a value: of its release, of its extension, or that it was evicted.
        let excused = self.failed_over == Some(now);
        // A waiter that did not hear of its lock may get it again.
        self.values.insert(value.to_owned(), Value { name, order: self.stores, since: now, excused });
        if !self.is_quorum() {
            // Members of a quorum may have a value while others have removed it.
            self.check_given_up(name, value);
            self.check_order(name, value, now);
        }
        if let Some(waiter) = self.waiters.get_mut(value) {
            waiter.stored = true;
        }
        self.check_guards(name, value);
    }

    /// No guard of another caller says that it holds the lock.
    fn check_guards(&mut self, name: &str, value: &str) {
        let others = self.guards.iter().filter(|(of, token, _)| of == name && token != value);
        let held = others.filter(|(_, token, guard)| {
            !self.is_excused(token) && guard.upgrade().is_some_and(|guard| guard.is_held())
        });
        let held: Vec<_> = held.map(|(_, token, _)| token.clone()).collect();
        if let Some(token) = held.first() {
            let what = format!("{} has {name}, and the guard of {token} does not know", label_of(value));
            self.violated(LossesAreReported, what);
        }
    }
}
