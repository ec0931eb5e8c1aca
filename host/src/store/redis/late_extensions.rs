//! Extensions that may still arrive.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::time::now;

/// An extension may arrive after a later one to more time: if it is still under way, or if it was repeated, failed, or lost its caller. Until it can take
/// effect no more, a holder may count on the shorter time only.
pub(super) struct LateExtensions {
    table: Mutex<Table>,
    longest_delay: Duration,
}

/// A lock and a value.
type Key = (String, String);

#[derive(Default)]
struct Table {
    /// The times to live of the extensions that were sent and not answered yet.
    pending: HashMap<Key, Vec<Duration>>,
    /// The shortest time to live of those that may come late, and until when.
    late: HashMap<Key, (Duration, Instant)>,
}

/// An extension that was sent. Dropping it before it was answered once and for all says that a copy may come late.
pub(super) struct SentExtension<'a> {
    all: &'a LateExtensions,
    key: Key,
    ttl: Duration,
    settled: bool,
}

impl LateExtensions {
    pub(super) fn new(longest_delay: Duration) -> Self {
        Self { table: Mutex::default(), longest_delay }
    }

    pub(super) fn send(&self, lock: &str, value: &str, ttl: Duration) -> SentExtension<'_> {
        let key = (lock.to_owned(), value.to_owned());
        self.table().pending.entry(key.clone()).or_default().push(ttl);
        SentExtension { all: self, key, ttl, settled: false }
    }

    /// The extensions that are under way or may come late.
    pub(super) fn remembered(&self) -> Vec<String> {
        let (table, now) = (self.table(), now());
        let late = table.late.iter().filter(|(_, (_, until))| *until > now).map(|(key, _)| key);
        table.pending.keys().chain(late).map(|(lock, _)| format!("an extension of {lock:?}")).collect()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// An extension is under way no more.
    fn remove_pending(&mut self, key: &Key, ttl: Duration) {
        let Some(pending) = self.pending.get_mut(key) else { return };
        if let Some(place) = pending.iter().position(|other| *other == ttl) {
            pending.swap_remove(place);
        }
        if pending.is_empty() {
            self.pending.remove(key);
        }
    }

    /// The shortest time to live of those that may still arrive.
    fn shortest(&mut self, key: &Key) -> Option<Duration> {
        let pending = self.pending.get(key).and_then(|pending| pending.iter().min()).copied();
        if self.late.is_empty() {
            return pending;
        }
        let now = now();
        self.late.retain(|_, (_, until)| *until > now);
        pending.into_iter().chain(self.late.get(key).map(|(ttl, _)| *ttl)).min()
    }
}

impl SentExtension<'_> {
    /// The server answered: how long the lock lasts at least. If the request was `retried`, a copy of it may come late.
    pub(super) fn answered(mut self, retried: bool) -> Duration {
        self.settled = !retried;
        let shortest = self.all.table().shortest(&self.key);
        shortest.map_or(self.ttl, |shortest| self.ttl.min(shortest))
    }
}

impl Drop for SentExtension<'_> {
    fn drop(&mut self) {
        let mut table = self.all.table();
        table.remove_pending(&self.key, self.ttl);
        if !self.settled {
            let until = now() + self.all.longest_delay;
            let late = table.late.entry(self.key.clone()).or_insert((self.ttl, until));
            *late = (late.0.min(self.ttl), until);
        }
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
    fn a_longer_extension_counts_only_as_long_as_one_that_is_under_way() {
        let late = LateExtensions::new(10 * SECOND);
        let (short, long) = (late.send("lock", "value", SECOND), late.send("lock", "value", 30 * SECOND));
        assert_eq!(long.answered(false), SECOND);
        assert_eq!(short.answered(false), SECOND);
        assert_eq!(late.send("lock", "value", 30 * SECOND).answered(false), 30 * SECOND);
    }

    #[test]
    fn an_extension_that_was_answered_once_comes_no_more() {
        let late = LateExtensions::new(10 * SECOND);
        late.send("lock", "value", SECOND).answered(false);
        assert!(late.table().late.is_empty() && late.table().pending.is_empty());
    }

    #[test]
    fn an_extension_that_can_take_effect_no_more_is_forgotten() {
        let late = LateExtensions::new(Duration::ZERO);
        drop(late.send("lock", "value", SECOND));
        assert_eq!(late.send("lock", "value", 30 * SECOND).answered(false), 30 * SECOND);
        assert!(late.table().late.is_empty() && late.table().pending.is_empty());
    }
}
