//! Extensions of which an earlier copy may still arrive.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// An extension whose connection broke is requested again, and the first request may arrive after a later extension to more. Until it can
/// take effect no more, a holder may count on the shorter time only.
pub(super) struct LateExtensions {
    /// By lock and value: the time to live, and until when it may take effect.
    extensions: Mutex<HashMap<(String, String), (Duration, Instant)>>,
    longest_delay: Duration,
}

impl LateExtensions {
    pub(super) fn new(longest_delay: Duration) -> Self {
        Self { extensions: Mutex::default(), longest_delay }
    }

    /// How long a lock that was just extended to `ttl` lasts at least; `retried` says that this extension was requested before.
    pub(super) fn shortest(&self, lock: &str, value: &str, ttl: Duration, retried: bool) -> Duration {
        let mut extensions = self.extensions.lock().unwrap_or_else(PoisonError::into_inner);
        if extensions.is_empty() && !retried {
            return ttl;
        }
        let now = Instant::now();
        extensions.retain(|_, (_, until)| *until > now);
        let key = (lock.to_owned(), value.to_owned());
        let shortest = extensions.get(&key).map_or(ttl, |(late, _)| ttl.min(*late));
        if retried {
            extensions.insert(key, (shortest, now + self.longest_delay));
        }
        shortest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_longer_extension_counts_only_as_long_as_an_earlier_one_that_may_come_late() {
        let late = LateExtensions::new(10 * SECOND);
        assert_eq!(late.shortest("lock", "value", SECOND, true), SECOND);
        assert_eq!(late.shortest("lock", "value", 30 * SECOND, false), SECOND);
        assert_eq!(late.shortest("lock", "another", 30 * SECOND, false), 30 * SECOND);
    }

    #[test]
    fn an_extension_that_can_take_effect_no_more_is_forgotten() {
        let late = LateExtensions::new(Duration::ZERO);
        assert_eq!(late.shortest("lock", "value", SECOND, true), SECOND);
        assert_eq!(late.shortest("lock", "value", 30 * SECOND, false), 30 * SECOND);
        assert!(late.extensions.lock().unwrap().is_empty());
    }
}
