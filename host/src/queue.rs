//! Who of this host's callers is next to wait for a key.
//!
//! Only the caller whose turn it is asks the cache to be woken. It keeps its turn until it has the key or gives up, so
//! callers are served in order of arrival, and a hand-off costs the cache the same however many are in line.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OwnedMutexGuard;

type Line = Arc<tokio::sync::Mutex<()>>;

#[derive(Clone, Default)]
pub(crate) struct Queues(Arc<Mutex<HashMap<String, Line>>>);

/// Being first in the line for a key. Dropping it lets the next one in.
pub(crate) struct Turn {
    // Dropped before `place`, so that the line is seen to be empty when it is.
    _first: OwnedMutexGuard<()>,
    place: Place,
}

/// Being in the line for a key, anywhere.
struct Place {
    key: String,
    line: Line,
    queues: Queues,
}

impl Queues {
    /// Lines up for `key` and returns when it is the caller's turn. A caller that goes away leaves the line.
    pub(crate) async fn turn(&self, key: &str) -> Turn {
        let line = self.lines().entry(key.to_owned()).or_default().clone();
        let place = Place { key: key.to_owned(), line, queues: self.clone() };
        // The mutex is fair: it is granted in the order in which it was asked for.
        Turn { _first: place.line.clone().lock_owned().await, place }
    }

    fn lines(&self) -> MutexGuard<'_, HashMap<String, Line>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    pub(crate) fn is_for(&self, key: &str) -> bool {
        self.place.key == key
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut lines = self.queues.lines();
        // The map's and this one: nobody else is left. Others join only under the same mutex.
        if Arc::strong_count(&self.line) == 2 {
            lines.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn turns_come_in_order_of_arrival_and_one_that_left_is_skipped() {
        let queues = Queues::default();
        let first = queues.turn("key").await;
        let (mut second, mut third) = (Box::pin(queues.turn("key")), Box::pin(queues.turn("key")));
        assert!(poll_once(&mut second).await.is_none());
        assert!(poll_once(&mut third).await.is_none());
        drop(second);
        drop(first);
        assert!(poll_once(&mut third).await.is_some());
    }

    #[tokio::test]
    async fn an_empty_line_leaves_nothing_behind() {
        let queues = Queues::default();
        let first = queues.turn("key").await;
        let mut second = Box::pin(queues.turn("key"));
        assert!(poll_once(&mut second).await.is_none());
        assert_eq!(queues.lines().len(), 1);
        drop(first);
        drop(second);
        assert!(queues.lines().is_empty());
    }

    async fn poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        tokio::time::timeout(std::time::Duration::ZERO, future).await.ok()
    }
}
