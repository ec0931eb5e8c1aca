//! The callers of this process that wait for a key of a quorum.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OwnedMutexGuard;

type Queue = Arc<tokio::sync::Mutex<()>>;

#[derive(Clone, Default)]
pub(super) struct WaitQueues(Arc<Mutex<HashMap<String, Queue>>>);

/// The right to contend for a key. The next caller has it when this is dropped.
pub(super) struct QueuePermit {
    // Dropped before `entry`, so that the queue is seen to be empty when it is.
    _head: OwnedMutexGuard<()>,
    _entry: QueueEntry,
}

/// A caller in the queue for a key, at its head or not.
struct QueueEntry {
    key: String,
    queue: Queue,
    queues: WaitQueues,
}

impl WaitQueues {
    /// Enters the queue for `key` and returns when the caller is its head. A caller that is dropped leaves the queue.
    pub(super) async fn permit(&self, key: &str) -> QueuePermit {
        let queue = self.queues().entry(key.to_owned()).or_default().clone();
        let entry = QueueEntry { key: key.to_owned(), queue, queues: self.clone() };
        // The mutex is fair: it is granted in the order of the requests.
        QueuePermit { _head: entry.queue.clone().lock_owned().await, _entry: entry }
    }

    /// The keys that callers wait for.
    pub(super) fn remembered(&self) -> Vec<String> {
        self.queues().keys().map(|key| format!("the queue of {key:?}")).collect()
    }

    fn queues(&self) -> MutexGuard<'_, HashMap<String, Queue>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for QueueEntry {
    fn drop(&mut self) {
        let mut queues = self.queues.queues();
        // The map's and this one: the queue is empty. Others enter only under the same lock.
        if Arc::strong_count(&self.queue) == 2 {
            queues.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn permits_come_in_order_of_arrival_and_a_caller_that_left_is_skipped() {
        let queues = WaitQueues::default();
        let first = queues.permit("key").await;
        let (mut second, mut third) = (Box::pin(queues.permit("key")), Box::pin(queues.permit("key")));
        assert!(poll_once(&mut second).await.is_none());
        assert!(poll_once(&mut third).await.is_none());
        drop(second);
        drop(first);
        assert!(poll_once(&mut third).await.is_some());
    }

    #[tokio::test]
    async fn an_empty_queue_leaves_nothing_behind() {
        let queues = WaitQueues::default();
        let first = queues.permit("key").await;
        let mut second = Box::pin(queues.permit("key"));
        assert!(poll_once(&mut second).await.is_none());
        assert_eq!(queues.queues().len(), 1);
        drop(first);
        drop(second);
        assert!(queues.queues().is_empty());
    }

    async fn poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        tokio::time::timeout(Duration::ZERO, future).await.ok()
    }
}
