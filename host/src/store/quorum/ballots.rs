//! The numbers of the rounds of votes.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::time::WallClock;

/// Gives each round of votes a ballot: the fence of the grant if the round succeeds. A ballot is about the time in microseconds. A member
/// refuses a ballot that is not higher than all it has seen in the slot; then this clock was behind, and goes ahead from there on.
pub(super) struct Ballots {
    clock: WallClock,
    ahead: AtomicU64,
    last: AtomicU64,
}

impl Ballots {
    pub(super) fn new(clock: WallClock) -> Self {
        Self { clock, ahead: AtomicU64::default(), last: AtomicU64::default() }
    }

    /// A ballot that is higher than all earlier ones of this process, and than those that members have reported.
    pub(super) fn next(&self) -> u64 {
        let at_least = self.clock.micros().saturating_add(self.ahead.load(Ordering::Relaxed));
        let next = |last: u64| at_least.max(last.saturating_add(1));
        next(self.last.update(Ordering::Relaxed, Ordering::Relaxed, next))
    }

    /// A member has already seen this ballot.
    pub(super) fn outdated(&self, seen: u64) {
        self.ahead.fetch_max(seen.saturating_sub(self.clock.micros()).saturating_add(1), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_ballot_is_higher_than_the_last_one() {
        let ballots = Ballots::new(WallClock::starting_at(0));
        let given: Vec<_> = (0..1000).map(|_| ballots.next()).collect();
        assert!(given.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn a_ballot_is_higher_than_what_a_member_has_seen() {
        let ballots = Ballots::new(WallClock::starting_at(1_000_000));
        ballots.outdated(u64::MAX / 2);
        ballots.outdated(5);
        assert!(ballots.next() > u64::MAX / 2);
    }
}
