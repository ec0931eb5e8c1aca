//! A store that knows whether it was asked anything.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use locker_host::cache::{DeleteOutcome, Entry, ExtendOutcome, SetOutcome};

use locker_host::{Cache, CacheError};

#[derive(Clone)]
pub(super) struct Watched<C> {
    inner: C,
    asked: Arc<AtomicUsize>,
}

impl<C: Cache> Watched<C> {
    pub(super) fn new(inner: C) -> Self {
        Self { inner, asked: Arc::default() }
    }

    /// How often it was asked something since this was last asked.
    pub(super) fn asked(&self) -> usize {
        self.asked.swap(0, Ordering::Relaxed)
    }

    fn ask(&self) -> &C {
        self.asked.fetch_add(1, Ordering::Relaxed);
        &self.inner
    }
}

#[async_trait]
impl<C: Cache> Cache for Watched<C> {
    async fn try_set(&self, key: &str, value: &str, ttl: Option<Duration>) -> Result<SetOutcome, CacheError> {
        self.ask().try_set(key, value, ttl).await
    }

    async fn extend_if_equal(&self, key: &str, value: &str, ttl: Duration) -> Result<ExtendOutcome, CacheError> {
        self.ask().extend_if_equal(key, value, ttl).await
    }

    async fn replace_if_equal(
        &self,
        key: &str,
        value: &str,
        replacement: &str,
        ttl: Duration,
    ) -> Result<ExtendOutcome, CacheError> {
        self.ask().replace_if_equal(key, value, replacement, ttl).await
    }

    async fn delete_if_equal(&self, key: &str, value: &str) -> Result<DeleteOutcome, CacheError> {
        self.ask().delete_if_equal(key, value).await
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, CacheError> {
        self.ask().get(key).await
    }

    async fn set_if_absent(
        &self,
        key: &str,
        value: &str,
        ttl: Option<Duration>,
        wait: Duration,
    ) -> Result<SetOutcome, CacheError> {
        self.ask().set_if_absent(key, value, ttl, wait).await
    }

    async fn keys(&self) -> Result<Vec<String>, CacheError> {
        self.ask().keys().await
    }
}
