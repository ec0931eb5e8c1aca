//! Extensions of which a copy may still arrive.

use crate::time::now;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A copy of an extension that was repeated, that failed, or whose caller went away may arrive after a later extension to more time.
/// Until it can take effect no more, a holder may count on the shorter time only.
pub(super) struct LateExtensions {
    /// By lock and value: the time to live, and until when it may take effect.
    extensions: Mutex<HashMap<(String, String), (Duration, Instant)>>,
    longest_delay: Duration,
}

/// An extension that was sent. Dropping it before it was answered once and for all says that a copy may come late.
pub(super) struct SentExtension<'a> {
    all: &'a LateExtensions,
    lock: &'a str,
    value: &'a str,
    ttl: Duration,
    settled: bool,
}

impl LateExtensions {
    pub(super) fn new(longest_delay: Duration) -> Self {
        Self { extensions: Mutex::default(), longest_delay }
    }

    pub(super) fn send<'a>(&'a self, lock: &'a str, value: &'a str, ttl: Duration) -> SentExtension<'a> {
        SentExtension { all: self, lock, value, ttl, settled: false }
    }

    fn extensions(&self) -> MutexGuard<'_, HashMap<(String, String), (Duration, Instant)>> {
        self.extensions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SentExtension<'_> {
    /// The server answered: how long the lock lasts at least. If the request was `retried`, a copy of it may come late.
    pub(super) fn answered(mut self, retried: bool) -> Duration {
        self.settled = !retried;
        let mut extensions = self.all.extensions();
        if extensions.is_empty() {
            return self.ttl;
        }
        let now = now();
        extensions.retain(|_, (_, until)| *until > now);
        let late = extensions.get(&(self.lock.to_owned(), self.value.to_owned()));
        late.map_or(self.ttl, |(late, _)| self.ttl.min(*late))
    }
}

impl Drop for SentExtension<'_> {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        let until = now() + self.all.longest_delay;
        let mut extensions = self.all.extensions();
        let late = extensions.entry((self.lock.to_owned(), self.value.to_owned())).or_insert((self.ttl, until));
        *late = (late.0.min(self.ttl), until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_longer_extension_counts_only_as_long_as_an_earlier_one_that_may_come_late() {
        let late = LateExtensions::new(10 * SECOND);
        assert_eq!(late.send("repeated", "value", SECOND).answered(true), SECOND);
        drop(late.send("cancelled", "value", SECOND));
        for lock in ["repeated", "cancelled"] {
            assert_eq!(late.send(lock, "value", 30 * SECOND).answered(false), SECOND);
            assert_eq!(late.send(lock, "another", 30 * SECOND).answered(false), 30 * SECOND);
        }
    }

    #[test]
    fn an_extension_that_was_answered_once_comes_no_more() {
        let late = LateExtensions::new(10 * SECOND);
        late.send("lock", "value", SECOND).answered(false);
        assert!(late.extensions().is_empty());
    }

    #[test]
    fn an_extension_that_can_take_effect_no_more_is_forgotten() {
        let late = LateExtensions::new(Duration::ZERO);
        drop(late.send("lock", "value", SECOND));
        assert_eq!(late.send("lock", "value", 30 * SECOND).answered(false), 30 * SECOND);
        assert!(late.extensions().is_empty());
    }
}
