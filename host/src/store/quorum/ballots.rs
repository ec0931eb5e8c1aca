//! The numbers of the rounds of votes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

use super::now;

/// Gives each round of votes a ballot: the fence of the grant if the round succeeds. A ballot is about the time in microseconds. A member
/// refuses a ballot that is not higher than all it has seen in the slot; then this clock was behind, and goes ahead from there on.
pub(super) struct Ballots {
    started: Instant,
    started_micros: u64,
    ahead: AtomicU64,
    last: AtomicU64,
}

impl Ballots {
    pub(super) fn of_wall_clock() -> Self {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self::new(u64::try_from(since_epoch.as_micros()).unwrap_or_default())
    }

    pub(super) fn new(started_micros: u64) -> Self {
        Self { started: now(), started_micros, ahead: AtomicU64::default(), last: AtomicU64::default() }
    }

    /// A ballot that is higher than all earlier ones of this process, and than those that members have reported.
    pub(super) fn next(&self) -> u64 {
        let at_least = self.clock().saturating_add(self.ahead.load(Ordering::Relaxed));
        let next = |last: u64| at_least.max(last.saturating_add(1));
        next(self.last.update(Ordering::Relaxed, Ordering::Relaxed, next))
    }

    /// A member has already seen this ballot.
    pub(super) fn outdated(&self, seen: u64) {
        self.ahead.fetch_max(seen.saturating_sub(self.clock()).saturating_add(1), Ordering::Relaxed);
    }

    fn clock(&self) -> u64 {
        let passed = now().saturating_duration_since(self.started).as_micros();
        self.started_micros.saturating_add(u64::try_from(passed).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_ballot_is_higher_than_the_last_one() {
        let ballots = Ballots::new(0);
        let given: Vec<_> = (0..1000).map(|_| ballots.next()).collect();
        assert!(given.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn a_ballot_is_higher_than_what_a_member_has_seen() {
        let ballots = Ballots::new(1_000_000);
        ballots.outdated(u64::MAX / 2);
        ballots.outdated(5);
        assert!(ballots.next() > u64::MAX / 2);
    }
}
