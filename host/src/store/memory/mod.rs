//! A store in this process's memory.

mod queue;
mod table;
mod waiter;

use std::ops::RangeInclusive;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::sync::broadcast;
use tokio::time::{sleep, sleep_until};

use self::table::{FirstStep, Table};
use self::waiter::Waiter;
use crate::environment::Environment;
use crate::store::measure::{measure, unused_key};
use crate::store::{
    Cache, CacheError, Change, DeleteOutcome, Entry, ExtendOutcome, Finding, QuorumMember, Revocation, SetOutcome,
    Status, Vote, VoteOutcome,
};
use crate::time::now;

/// A store in this process's memory: for tests, for programs of one process, and for plugins of one host.
///
/// Clones share the store and its queues, which are first come, first served. The store ends with the process. Values expire
/// by the monotonic clock. Revisions are the wall clock's microseconds, or one more than the last, so they also rise across restarts.
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
    revocations: broadcast::Sender<(Arc<str>, u64)>,
}

/// How many revocations a listener may be behind. It asks the store if it has missed one.
const MAX_REVOCATIONS: usize = 16;

impl Memory {
    /// An empty store that keeps what comes without a time to live for `default_ttl`.
    #[must_use]
    pub fn new(default_ttl: Duration) -> Self {
        Self { default_ttl, table: Arc::default(), revocations: broadcast::Sender::new(MAX_REVOCATIONS) }
    }

    /// Makes the revisions depend on the wall clock of `environment`, for simulations.
    #[must_use]
    pub fn environment(self, environment: &Environment) -> Self {
        self.table().0.clock = environment.clock;
        self
    }

    /// The table as of now: expired values are gone, and their keys belong to the heads of their queues.
    fn table(&self) -> (MutexGuard<'_, Table>, Instant) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let now = now();
        table.expire(now);
        (table, now)
    }

    fn set_or_enqueue(&self, key: &str, value: &str, ttl: Option<Duration>) -> Result<FirstStep, CacheError> {
        let (mut table, now) = self.table();
        table.set_or_enqueue(key, value, ttl.unwrap_or(self.default_ttl), now)
    }
}

impl Default for Memory {
    /// An empty store with a default time to live of 30 seconds.
    fn default() -> Self {
        Self::new(Duration::from_secs(30))
    }
}

#[async_trait]
impl Cache for Memory {
    async fn try_set(&self, key: &str, value: &str, ttl: Option<Duration>) -> Result<SetOutcome, CacheError> {
        let (mut table, now) = self.table();
        table.set_if_absent(key, value, ttl.unwrap_or(self.default_ttl), now)
    }

    async fn set_if_absent(
        &self,
        key: &str,
        value: &str,
        ttl: Option<Duration>,
        wait: Duration,
    ) -> Result<SetOutcome, CacheError> {
        if wait.is_zero() {
            let (mut table, now) = self.table();
            return table.set_if_absent(key, value, ttl.unwrap_or(self.default_ttl), now);
        }
        let waiter = match self.set_or_enqueue(key, value, ttl)? {
            FirstStep::Stored(stored) => return Ok(SetOutcome::Stored(stored)),
            FirstStep::Queued(entry) => Waiter::new(self.clone(), key, entry),
        };
        // Boxed to keep the future of a call that finds the key free small.
        Box::pin(waiter.wait(wait)).await
    }

    fn default_ttl(&self) -> Duration {
        self.default_ttl
    }

    fn is_fifo(&self) -> bool {
        true
    }

    async fn extend_if_equal(&self, key: &str, value: &str, ttl: Duration) -> Result<ExtendOutcome, CacheError> {
        let (mut table, now) = self.table();
        table.extend_if_equal(key, value, ttl, now)
    }

    async fn replace_if_equal(
        &self,
        key: &str,
        value: &str,
        replacement: &str,
        ttl: Duration,
    ) -> Result<ExtendOutcome, CacheError> {
        let (mut table, now) = self.table();
        table.replace_if_equal(key, value, replacement, ttl, now)
    }

    async fn delete_if_equal(&self, key: &str, value: &str) -> Result<DeleteOutcome, CacheError> {
        let (mut table, now) = self.table();
        Ok(table.delete_if_equal(key, value, now))
    }

    async fn withdraw(&self, key: &str, value: &str) -> Result<(), CacheError> {
        let (mut table, now) = self.table();
        table.withdraw(key, value, now);
        Ok(())
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, CacheError> {
        let (table, now) = self.table();
        Ok(table.get(key, now))
    }

    async fn keys(&self) -> Result<Vec<String>, CacheError> {
        Ok(self.table().0.keys())
    }

    async fn listen_for_change(&self, _: &str) -> Result<Change, CacheError> {
        Ok(Box::pin(self.table().0.changes.clone().notified_owned()))
    }

    async fn announce_revocation(&self, key: &str, revision: u64) -> Result<(), CacheError> {
        // It fails if no caller listens.
        _ = self.revocations.send((key.into(), revision));
        Ok(())
    }

    async fn listen_for_revocation(&self, key: &str, revision: u64) -> Option<Revocation> {
        let (key, mut revocations) = (Arc::from(key), self.revocations.subscribe());
        Some(Box::pin(async move {
            loop {
                match revocations.recv().await {
                    Ok(revoked) if revoked == (Arc::clone(&key), revision) => return true,
                    Ok(_) => {}
                    Err(_) => return false,
                }
            }
        }))
    }

    async fn check(&self) -> Vec<Finding> {
        const STORE: &str = "memory";
        let found = "is of this process alone, and its locks end with it";
        let scope = Finding::new(STORE, "scope", Status::Warning, found)
            .remedy("name a local store, or Redis, if other processes are to share the locks");
        let mut findings = vec![scope];
        findings.extend(measure(self, STORE, &unused_key()).await);
        findings
    }
}

#[async_trait]
impl QuorumMember for Memory {
    async fn watch(&self, key: &str, timeout: Duration) -> Result<(), CacheError> {
        let mut over = pin!(sleep(timeout));
        loop {
            let (expires, changed) = {
                let (mut table, _) = self.table();
                let Some((expires, changed)) = table.watch(key) else { return Ok(()) };
                // Listening begins under the lock, so that no change is missed.
                (expires, changed.notified_owned())
            };
            tokio::select! {
                biased;
                () = &mut over => return Ok(()),
                () = changed => {}
                () = sleep_until(expires.into()) => {}
            }
        }
    }

    async fn vote(&self, key: &str, vote: Vote<'_>) -> Result<VoteOutcome, CacheError> {
        let (mut table, now) = self.table();
        table.vote(key, vote, now)
    }

    async fn withdraw_vote(&self, key: &str, value: &str, revisions: RangeInclusive<u64>) -> Result<(), CacheError> {
        let (mut table, now) = self.table();
        table.withdraw_vote(key, value, revisions, now);
        Ok(())
    }

    async fn replace_vote(
        &self,
        key: &str,
        value: &str,
        replacement: &str,
        ttl: Duration,
    ) -> Result<ExtendOutcome, CacheError> {
        let (mut table, now) = self.table();
        table.check_withdrawn(key, replacement, now)?;
        table.replace_if_equal(key, value, replacement, ttl, now)
    }

    async fn restore(&self, key: &str, value: &str, ttl: Duration, revision: u64) -> Result<SetOutcome, CacheError> {
        let (mut table, now) = self.table();
        table.restore(key, value, ttl, revision, now)
    }
}

#[cfg(test)]
mod tests;
