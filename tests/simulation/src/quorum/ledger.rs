//! Who holds which lock, as the callers know it, and what the members had.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::invariants::QuorumInvariant::{AtMostOneHolder, FencesIncrease, HoldersAreReal, OneFencePerLease};
use super::invariants::{QuorumInvariant, QuorumViolation};
use super::server::Server;

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    leases: Vec<Lease>,
    asked: BTreeSet<(String, String)>,
    /// When each member last had a value under a key.
    seen: BTreeMap<(String, String), Vec<Option<Duration>>>,
    pub(crate) gone: BTreeMap<(String, String), Gone>,
    /// How often members lost their data.
    pub(crate) losses: u64,
    pub(crate) granted: usize,
    pub(crate) occupied: usize,
    pub(crate) failed: Vec<String>,
    pub(crate) violation: Option<QuorumViolation>,
}

/// A value that its caller gave up with success.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gone {
    pub(crate) process: usize,
    /// Whether it was released, not withdrawn.
    pub(crate) released: bool,
}

/// A caller believes that it holds the key until the deadline, or until it ends the lease.
#[derive(Debug)]
struct Lease {
    key: String,
    value: String,
    process: usize,
    fence: u64,
    deadline: Duration,
    ended: bool,
}

impl Ledger {
    pub(crate) fn violated(&mut self, invariant: QuorumInvariant, what: String) {
        self.violation.get_or_insert(QuorumViolation { invariant, what });
    }

    pub(crate) fn asks(&mut self, key: &str, value: &str) {
        self.asked.insert((key.to_owned(), value.to_owned()));
    }

    pub(crate) fn grant(
        &mut self,
        process: usize,
        key: &str,
        value: &str,
        fence: u64,
        deadline: Duration,
        now: Duration,
    ) {
        self.granted += 1;
        let last = self.leases.iter().filter(|lease| lease.key == key).map(|lease| lease.fence).max();
        if last.is_some_and(|last| last >= fence) {
            self.violated(FencesIncrease, format!("{value} has {key} with {fence}, after a grant with {last:?}"));
        }
        let (key, value) = (key.to_owned(), value.to_owned());
        self.leases.push(Lease { key: key.clone(), value: value.clone(), process, fence, deadline, ended: false });
        self.check_holder(&key, &value, now);
    }

    /// An answer about a lease: a new deadline, if there is one.
    pub(crate) fn confirmed(&mut self, key: &str, value: &str, fence: u64, deadline: Option<Duration>, now: Duration) {
        let lease = self.leases.iter_mut().find(|lease| lease.key == key && lease.value == value);
        let Some(lease) = lease else { return };
        lease.deadline = deadline.unwrap_or(lease.deadline);
        if lease.fence != fence {
            let what = format!("{value} had {key} with {}, and now with {fence}", lease.fence);
            self.violated(OneFencePerLease, what);
        }
        self.check_holder(key, value, now);
    }

    fn check_holder(&mut self, key: &str, value: &str, now: Duration) {
        let other = self.valid(now).find(|lease| lease.key == key && lease.value != value);
        if let Some(other) = other {
            let what = format!("{value} has {key} while {} has it until {:?}", other.value, other.deadline);
            self.violated(AtMostOneHolder, what);
        }
    }

    fn valid(&self, now: Duration) -> impl Iterator<Item = &Lease> {
        self.leases.iter().filter(move |lease| !lease.ended && lease.deadline > now)
    }

    pub(crate) fn ends(&mut self, key: &str, value: &str) {
        let lease = self.leases.iter_mut().filter(|lease| lease.key == key && lease.value == value);
        lease.for_each(|lease| lease.ended = true);
    }

    pub(crate) fn crashes(&mut self, process: usize) {
        self.leases.iter_mut().filter(|lease| lease.process == process).for_each(|lease| lease.ended = true);
        // Its withdrawals in the background have ended, too.
        self.gone.retain(|_, gone| gone.process != process);
    }

    /// The value that a caller holds the key with.
    pub(crate) fn holder(&self, key: &str, now: Duration) -> Option<String> {
        self.valid(now).find(|lease| lease.key == key).map(|lease| lease.value.clone())
    }

    /// Until when the caller counts on its lease.
    pub(crate) fn deadline(&self, key: &str, value: &str) -> Option<Duration> {
        self.leases.iter().find(|lease| lease.key == key && lease.value == value).map(|lease| lease.deadline)
    }

    /// Notes what the members have.
    pub(crate) fn note_values(&mut self, key: &str, servers: &[Server], now: Duration) {
        for (member, server) in servers.iter().enumerate() {
            let Some(slot) = server.slot(key, now) else { continue };
            let seen = self.seen.entry((key.to_owned(), slot.value.clone()));
            seen.or_insert_with(|| vec![None; servers.len()])[member] = Some(now);
        }
    }

    /// A caller was told that a value has the key; the call began at `since`. A majority must have had the value during the call, although not
    /// all of them at the same moment.
    pub(crate) fn told(&mut self, key: &str, value: &str, asker: &str, since: Duration) {
        let pair = (key.to_owned(), value.to_owned());
        let had_majority = self.seen.get(&pair).is_some_and(|seen| {
            let members = seen.iter().flatten().filter(|last| **last >= since).count();
            members > seen.len() / 2
        });
        if !self.asked.contains(&pair) || value == asker || !had_majority {
            let seen = self.seen.get(&pair);
            let what =
                format!("{asker} is told that {value} has {key}, which members last had at {seen:?}, since {since:?}");
            self.violated(HoldersAreReal, what);
        }
    }
}
