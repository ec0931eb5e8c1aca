//! A store in memory that fails when it is told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use locker_host::cache::{DeleteOutcome, Entry, ExtendOutcome, SetOutcome};

use locker_host::{Cache, CacheError, ErrorKind, Locker, Memory};
use tokio::sync::watch;

#[derive(Clone, Default)]
pub(crate) struct Flaky {
    memory: Memory,
    failures: Arc<AtomicUsize>,
    extensions: Arc<AtomicUsize>,
    sets: Arc<AtomicUsize>,
    outage: watch::Sender<Option<ErrorKind>>,
}

impl Flaky {
    pub(crate) fn locker(&self) -> Locker {
        Locker::new(self.clone()).unwrap()
    }

    /// Lets so many extensions fail from now on.
    pub(crate) fn fail(&self, times: usize) {
        self.failures.store(times, Ordering::SeqCst);
    }

    /// Fails all calls that set a value, also those that wait, or none any more.
    pub(crate) fn set_outage(&self, kind: impl Into<Option<ErrorKind>>) {
        self.outage.send_replace(kind.into());
    }

    /// How many calls that set a value were made, in vain or not.
    pub(crate) fn sets(&self) -> usize {
        self.sets.load(Ordering::SeqCst)
    }

    /// How many extensions were asked for, in vain or not.
    pub(crate) fn extensions(&self) -> usize {
        self.extensions.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Cache for Flaky {
    async fn try_set(&self, key: &str, value: &str, ttl: Option<Duration>) -> Result<SetOutcome, CacheError> {
        self.set_if_absent(key, value, ttl, Duration::ZERO).await
    }

    async fn set_if_absent(
        &self,
        key: &str,
        value: &str,
        ttl: Option<Duration>,
        wait: Duration,
    ) -> Result<SetOutcome, CacheError> {
        self.sets.fetch_add(1, Ordering::SeqCst);
        let mut outage = self.outage.subscribe();
        let begins = async { outage.wait_for(Option::is_some).await.ok().and_then(|kind| *kind) };
        tokio::select! {
            biased;
            Some(kind) = begins => Err(CacheError::new(kind, "the store is away")),
            outcome = self.memory.set_if_absent(key, value, ttl, wait) => outcome,
        }
    }

    async fn extend_if_equal(&self, key: &str, value: &str, ttl: Duration) -> Result<ExtendOutcome, CacheError> {
        self.extensions.fetch_add(1, Ordering::SeqCst);
        if self.failures.try_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            return Err(CacheError::new(ErrorKind::Unavailable, "the store is away"));
        }
        self.memory.extend_if_equal(key, value, ttl).await
    }

    async fn replace_if_equal(
        &self,
        key: &str,
        value: &str,
        replacement: &str,
        ttl: Duration,
    ) -> Result<ExtendOutcome, CacheError> {
        self.memory.replace_if_equal(key, value, replacement, ttl).await
    }

    async fn delete_if_equal(&self, key: &str, value: &str) -> Result<DeleteOutcome, CacheError> {
        self.memory.delete_if_equal(key, value).await
    }

    async fn withdraw(&self, key: &str, value: &str) -> Result<(), CacheError> {
        self.memory.withdraw(key, value).await
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, CacheError> {
        self.memory.get(key).await
    }
}
