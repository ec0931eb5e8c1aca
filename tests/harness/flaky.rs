//! A store in memory that fails when it is told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use locker_host::{Cache, CacheError, Delete, Entry, ErrorKind, Extend, Locker, Memory, Set};

#[derive(Clone, Default)]
pub(crate) struct Flaky {
    memory: Memory,
    failures: Arc<AtomicUsize>,
    extensions: Arc<AtomicUsize>,
}

impl Flaky {
    pub(crate) fn locker(&self) -> Locker {
        Locker::new(self.clone()).unwrap()
    }

    /// Lets so many extensions fail from now on.
    pub(crate) fn fail(&self, times: usize) {
        self.failures.store(times, Ordering::SeqCst);
    }

    /// How many extensions were asked for, in vain or not.
    pub(crate) fn extensions(&self) -> usize {
        self.extensions.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Cache for Flaky {
    async fn set_if_absent(&self, key: &str, value: &str, ttl: Option<Duration>) -> Result<Set, CacheError> {
        self.memory.set_if_absent(key, value, ttl).await
    }

    async fn extend_if_equal(&self, key: &str, value: &str, ttl: Duration) -> Result<Extend, CacheError> {
        self.extensions.fetch_add(1, Ordering::SeqCst);
        if self.failures.try_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            return Err(CacheError::new(ErrorKind::Unavailable, "the store is away"));
        }
        self.memory.extend_if_equal(key, value, ttl).await
    }

    async fn delete_if_equal(&self, key: &str, value: &str) -> Result<Delete, CacheError> {
        self.memory.delete_if_equal(key, value).await
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, CacheError> {
        self.memory.get(key).await
    }

    async fn wait_until_absent(&self, key: &str, timeout: Duration) -> Result<(), CacheError> {
        self.memory.wait_until_absent(key, timeout).await
    }
}
