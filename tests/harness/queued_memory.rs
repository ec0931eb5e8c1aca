//! A store in memory that tells how many calls are in its queues.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use locker_host::cache::{Change, DeleteOutcome, Entry, ExtendOutcome, Revocation, SetOutcome};

use locker_host::{Cache, CacheError, Memory};

#[derive(Clone, Default)]
pub(crate) struct QueuedMemory {
    memory: Memory,
    queued: Arc<Mutex<HashMap<String, u64>>>,
}

/// A call that is in a queue.
struct Queued<'a>(&'a QueuedMemory, &'a str);

impl QueuedMemory {
    pub(crate) fn queued(&self, key: &str) -> u64 {
        self.queued.lock().unwrap().get(key).copied().unwrap_or_default()
    }
}

impl<'a> Queued<'a> {
    fn new(memory: &'a QueuedMemory, key: &'a str) -> Self {
        *memory.queued.lock().unwrap().entry(key.to_owned()).or_default() += 1;
        Self(memory, key)
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        *self.0.queued.lock().unwrap().get_mut(self.1).unwrap() -= 1;
    }
}

#[async_trait]
impl Cache for QueuedMemory {
    async fn try_set(&self, key: &str, value: &str, ttl: Option<Duration>) -> Result<SetOutcome, CacheError> {
        self.memory.try_set(key, value, ttl).await
    }

    async fn set_if_absent(
        &self,
        key: &str,
        value: &str,
        ttl: Option<Duration>,
        wait: Duration,
    ) -> Result<SetOutcome, CacheError> {
        let mut call = pin!(self.memory.set_if_absent(key, value, ttl, wait));
        // A call that is not answered at once is in the queue.
        if let Poll::Ready(answer) = poll_fn(|context| Poll::Ready(call.as_mut().poll(context))).await {
            return answer;
        }
        let _queued = Queued::new(self, key);
        call.await
    }

    fn is_fifo(&self) -> bool {
        self.memory.is_fifo()
    }

    async fn extend_if_equal(&self, key: &str, value: &str, ttl: Duration) -> Result<ExtendOutcome, CacheError> {
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

    async fn listen_for_change(&self, key: &str) -> Result<Change, CacheError> {
        self.memory.listen_for_change(key).await
    }

    async fn announce_revocation(&self, key: &str, revision: u64) -> Result<(), CacheError> {
        self.memory.announce_revocation(key, revision).await
    }

    async fn listen_for_revocation(&self, key: &str, revision: u64) -> Option<Revocation> {
        self.memory.listen_for_revocation(key, revision).await
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, CacheError> {
        self.memory.get(key).await
    }

    async fn keys(&self) -> Result<Vec<String>, CacheError> {
        self.memory.keys().await
    }
}
