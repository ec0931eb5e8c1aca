//! The arithmetic of times: milliseconds, leases, jitter.

use std::time::{Duration, Instant};

/// The least time that a lease of `ttl` must have left to count: the contract counts in whole milliseconds.
pub(crate) fn least_left(ttl: Duration) -> Duration {
    Duration::from_millis(1).min(ttl / 2)
}

/// How long the cache keeps a value that it stored or extended, at least.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Term {
    pub(crate) deadline: Instant,
    /// The whole time to live, including the part that the answer took.
    pub(crate) ttl: Duration,
}

impl Term {
    /// Whether more than `required` is left.
    pub(crate) fn has_left(&self, required: Duration) -> bool {
        self.left() > required
    }

    pub(crate) fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

/// Milliseconds, fractions rounded up.
pub(crate) fn millis_ceil(duration: Duration) -> u64 {
    // Not by dividing all nanoseconds: that is slow with 128 bits.
    let fraction = u64::from(duration.subsec_nanos().div_ceil(1_000_000));
    duration.as_secs().checked_mul(1000).and_then(|millis| millis.checked_add(fraction)).unwrap_or(u64::MAX)
}

/// Milliseconds, fractions rounded down: for what is left of a time to live.
pub(crate) fn millis_floor(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A year: the end of what the clock cannot represent.
pub(crate) const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The instant that comes so long after `start`, or a year after it if the clock cannot represent that.
pub(crate) fn after(start: Instant, duration: Duration) -> Instant {
    start.checked_add(duration).unwrap_or(start + YEAR)
}

/// The instant that comes so long before `end`, or `end` itself if the clock cannot represent that.
pub(crate) fn before(end: Instant, duration: Duration) -> Instant {
    end.checked_sub(duration).unwrap_or(end)
}

/// A pause of up to a tenth less, so that locks that were taken together are not always renewed together.
pub(crate) fn jittered(pause: Duration) -> Duration {
    let tenths = f64::from(getrandom::u32().unwrap_or_default()) / f64::from(u32::MAX);
    pause.mul_f64(1.0 - tenths / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn term(ttl: u64, passed: u64) -> Term {
        let (asked, ttl) =
            (Instant::now().checked_sub(Duration::from_millis(passed)).unwrap(), Duration::from_millis(ttl));
        Term { deadline: asked + ttl, ttl }
    }

    #[test]
    fn a_term_has_left_what_the_answer_did_not_take() {
        let required = Duration::from_secs(1);
        assert!(term(60_000, 58_000).has_left(required));
        assert!(!term(60_000, 59_500).has_left(required));
        assert!(!term(60_000, 61_000).has_left(Duration::ZERO));
    }

    #[test]
    fn half_of_the_shortest_term_is_enough() {
        assert_eq!(least_left(Duration::from_millis(1)), Duration::from_micros(500));
        assert_eq!(least_left(Duration::from_secs(1)), Duration::from_millis(1));
    }
}
