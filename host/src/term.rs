//! How long a lease counts.

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
