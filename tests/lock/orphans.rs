//! Values whose caller was cancelled.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use locker_host::cache::{DeleteOutcome, Entry, ExtendOutcome, SetOutcome};

use locker_host::{Cache, CacheError, Locker, Memory};
use tokio::runtime::Handle;

use crate::harness::{LONG, until, waiting_options};

/// A store that answers nothing while it hangs, but does what it is asked.
#[derive(Clone, Default)]
struct Hanging {
    memory: Memory,
    hangs: Arc<AtomicBool>,
}

impl Hanging {
    async fn answer<T>(&self, answer: T) -> T {
        if self.hangs.load(Ordering::SeqCst) { pending().await } else { answer }
    }
}

#[async_trait]
impl Cache for Hanging {
    async fn try_set(&self, key: &str, value: &str, ttl: Option<Duration>) -> Result<SetOutcome, CacheError> {
        self.answer(self.memory.try_set(key, value, ttl).await).await
    }

    async fn extend_if_equal(&self, key: &str, value: &str, ttl: Duration) -> Result<ExtendOutcome, CacheError> {
        self.answer(self.memory.extend_if_equal(key, value, ttl).await).await
    }

    async fn delete_if_equal(&self, key: &str, value: &str) -> Result<DeleteOutcome, CacheError> {
        // A request to delete does not reach it.
        self.answer(()).await;
        self.memory.delete_if_equal(key, value).await
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, CacheError> {
        self.memory.get(key).await
    }

    async fn keys(&self) -> Result<Vec<String>, CacheError> {
        self.memory.keys().await
    }
}

/// Polls a call once, and drops it.
async fn cancelled(call: impl Future) {
    _ = tokio::time::timeout(Duration::ZERO, call).await.map(|_| panic!("the store answered"));
}

#[tokio::test]
async fn an_outage_costs_one_task_however_many_calls_fail() {
    let store = Hanging::default();
    let locker = Locker::new(store.clone()).unwrap();
    store.hangs.store(true, Ordering::SeqCst);
    let calls = 200;
    for number in 0..calls {
        cancelled(locker.lock(&number.to_string(), LONG)).await;
    }
    assert_eq!(Handle::current().metrics().num_alive_tasks(), 1);
    assert_eq!(store.memory.keys().await.unwrap().len(), calls);
    store.hangs.store(false, Ordering::SeqCst);
    until(async || store.memory.keys().await.unwrap().is_empty()).await;
    locker.close().await;
    assert_eq!(Handle::current().metrics().num_alive_tasks(), 0);
}

#[tokio::test]
async fn a_guard_that_is_dropped_while_the_store_hangs_is_released_later() {
    let store = Hanging::default();
    let locker = Locker::new(store.clone()).unwrap();
    let guard = locker.hold("job", waiting_options()).await.unwrap().granted().unwrap();
    store.hangs.store(true, Ordering::SeqCst);
    drop(guard);
    tokio::task::yield_now().await;
    assert!(store.get("job").await.unwrap().is_some());
    store.hangs.store(false, Ordering::SeqCst);
    until(async || store.get("job").await.unwrap().is_none()).await;
}
