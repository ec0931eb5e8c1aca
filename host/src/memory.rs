//! A store in this process's memory.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use tokio::sync::Notify;

use crate::{Cache, CacheError, Delete, Entry, ErrorKind, Extend, Set, Stored};

/// A store in this process's memory: for tests, for programs of one process, and for plugins of one host.
///
/// Clones share the store. It is gone with the process. Expiry goes by the monotonic clock; revisions start at the
/// wall clock's microseconds, so that they rise across restarts too, and then only ever count up.
///
/// ```
/// use std::time::Duration;
/// use locker_host::{Locker, Memory};
///
/// let locker = Locker::new(Memory::new(Duration::from_secs(5))).unwrap();
/// ```
#[derive(Clone)]
pub struct Memory {
    default_ttl: Duration,
    table: Arc<Mutex<Table>>,
}

#[derive(Default)]
struct Table {
    slots: HashMap<Arc<str>, Slot>,
    /// The same keys by the time they expire, so that what has expired is found without looking at the rest.
    expiries: BTreeSet<(Instant, Arc<str>)>,
    last_revision: u64,
}

struct Slot {
    value: String,
    revision: u64,
    expires: Instant,
    /// Made by the first who waits for the key to go away.
    gone: Option<Arc<Notify>>,
}

impl Memory {
    /// An empty store that keeps what comes without a time to live for `default_ttl`.
    #[must_use]
    pub fn new(default_ttl: Duration) -> Self {
        Self { default_ttl, table: Arc::default() }
    }

    /// The table as of now, without what has expired.
    fn table(&self) -> (MutexGuard<'_, Table>, Instant) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        while table.expiries.first().is_some_and(|(expires, _)| *expires <= now) {
            if let Some((_, key)) = table.expiries.pop_first() {
                table.slots.remove(&key);
            }
        }
        (table, now)
    }
}

impl Default for Memory {
    /// An empty store with a default time to live of 30 seconds.
    fn default() -> Self {
        Self::new(Duration::from_secs(30))
    }
}

impl Table {
    fn next_revision(&mut self) -> u64 {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let micros = u64::try_from(since_epoch.as_micros()).unwrap_or(0);
        self.last_revision = micros.max(self.last_revision + 1);
        self.last_revision
    }
}

fn expiry(now: Instant, ttl: Duration) -> Result<Instant, CacheError> {
    now.checked_add(ttl).ok_or_else(|| {
        CacheError::new(ErrorKind::Invalid, format!("a time to live of {ttl:?} is beyond what the clock can show"))
    })
}

#[async_trait]
impl Cache for Memory {
    async fn set_if_absent(&self, key: &str, value: &str, ttl: Option<Duration>) -> Result<Set, CacheError> {
        let ttl = ttl.unwrap_or(self.default_ttl);
        let (mut table, now) = self.table();
        if let Some(slot) = table.slots.get(key) {
            let left = slot.expires - now;
            return Ok(if slot.value == value {
                Set::Stored(Stored { revision: slot.revision, ttl: left })
            } else {
                Set::Occupied(Entry { value: slot.value.clone(), revision: slot.revision, ttl: Some(left) })
            });
        }
        let (key, expires, revision) = (Arc::<str>::from(key), expiry(now, ttl)?, table.next_revision());
        table.expiries.insert((expires, key.clone()));
        table.slots.insert(key, Slot { value: value.to_owned(), revision, expires, gone: None });
        Ok(Set::Stored(Stored { revision, ttl }))
    }

    async fn extend_if_equal(&self, key: &str, value: &str, ttl: Duration) -> Result<Extend, CacheError> {
        let (mut table, now) = self.table();
        let Table { slots, expiries, .. } = &mut *table;
        let Some(slot) = slots.get_mut(key) else { return Ok(Extend::Absent) };
        if slot.value != value {
            return Ok(Extend::Different);
        }
        let expires = expiry(now, ttl)?;
        let mut place = (slot.expires, Arc::from(key));
        expiries.remove(&place);
        place.0 = expires;
        expiries.insert(place);
        slot.expires = expires;
        // A waiter sleeps until the old time; let it look again.
        if let Some(gone) = &slot.gone {
            gone.notify_waiters();
        }
        Ok(Extend::Extended(Stored { revision: slot.revision, ttl }))
    }

    async fn delete_if_equal(&self, key: &str, value: &str) -> Result<Delete, CacheError> {
        let (mut table, _) = self.table();
        let Some(slot) = table.slots.get(key) else { return Ok(Delete::Absent) };
        if slot.value != value {
            return Ok(Delete::Different);
        }
        if let Some((key, slot)) = table.slots.remove_entry(key) {
            table.expiries.remove(&(slot.expires, key));
            if let Some(gone) = slot.gone {
                gone.notify_waiters();
            }
        }
        Ok(Delete::Deleted)
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, CacheError> {
        let (table, now) = self.table();
        Ok(table.slots.get(key).map(|slot| Entry {
            value: slot.value.clone(),
            revision: slot.revision,
            ttl: Some(slot.expires - now),
        }))
    }

    async fn wait_until_absent(&self, key: &str, timeout: Duration) -> Result<(), CacheError> {
        let started = Instant::now();
        loop {
            let (gone, expires) = {
                let (mut table, _) = self.table();
                let Some(slot) = table.slots.get_mut(key) else { return Ok(()) };
                // Listening begins under the lock, so that no deletion is missed.
                (slot.gone.get_or_insert_default().clone().notified_owned(), slot.expires)
            };
            let patience = timeout.saturating_sub(started.elapsed());
            let nap = patience.min(expires.saturating_duration_since(Instant::now()));
            if tokio::time::timeout(nap, gone).await.is_err() && nap == patience {
                return Ok(());
            }
        }
    }

    async fn raise(&self, key: &str, value: &str, revision: u64) -> Result<bool, CacheError> {
        let (mut table, _) = self.table();
        let Some(slot) = table.slots.get_mut(key).filter(|slot| slot.value == value) else { return Ok(false) };
        slot.revision = slot.revision.max(revision);
        table.last_revision = table.last_revision.max(revision);
        Ok(true)
    }

    async fn keys(&self) -> Result<Vec<String>, CacheError> {
        Ok(self.table().0.slots.keys().map(ToString::to_string).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_has_expired_does_not_pile_up() {
        let memory = Memory::default();
        for n in 0..1000 {
            memory.set_if_absent(&n.to_string(), "value", Some(Duration::from_millis(1))).await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
        memory.set_if_absent("one more", "value", None).await.unwrap();
        let (table, _) = memory.table();
        assert_eq!((table.slots.len(), table.expiries.len()), (1, 1));
    }

    #[tokio::test]
    async fn what_is_deleted_or_extended_leaves_nothing_behind() {
        let memory = Memory::default();
        memory.set_if_absent("key", "value", None).await.unwrap();
        for ttl in [Duration::from_secs(1), Duration::from_secs(60)] {
            memory.extend_if_equal("key", "value", ttl).await.unwrap();
        }
        assert_eq!(memory.table().0.expiries.len(), 1);
        memory.delete_if_equal("key", "value").await.unwrap();
        let (table, _) = memory.table();
        assert_eq!((table.slots.len(), table.expiries.len()), (0, 0));
    }

    #[test]
    fn revisions_rise_even_if_the_wall_clock_is_set_back() {
        let mut table = Table { last_revision: u64::MAX / 2, ..Table::default() };
        assert_eq!(table.next_revision(), u64::MAX / 2 + 1);
        assert_eq!(table.next_revision(), u64::MAX / 2 + 2);
    }
}
