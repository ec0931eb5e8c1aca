//! Idle instances that are kept for the next calls.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::sleep;

/// Keeps as many idle items as were in use at the same time lately. A task in the background drops the others; it ends when the
/// pool is empty.
pub(crate) struct Pool<T: Send + 'static> {
    idle: Arc<Mutex<Idle<T>>>,
    interval: Duration,
}

/// More items may be in use, but no more are kept.
const MAX_IDLE: usize = 1024;

struct Idle<T> {
    /// The last one in is the first one out, so those that are not needed stay at the bottom.
    items: Vec<T>,
    /// How many at the bottom were not needed since the last trim.
    unused: usize,
    trimming: bool,
    trimmer: Option<AbortHandle>,
}

impl<T: Send + 'static> Pool<T> {
    /// A pool that drops an item when it was not needed for `interval`, or for twice as long at most.
    pub(crate) fn new(interval: Duration) -> Self {
        let idle = Idle { items: Vec::new(), unused: 0, trimming: false, trimmer: None };
        Self { idle: Arc::new(Mutex::new(idle)), interval }
    }

    pub(crate) fn take(&self) -> Option<T> {
        let mut idle = lock(&self.idle);
        let item = idle.items.pop();
        idle.unused = idle.unused.min(idle.items.len());
        item
    }

    pub(crate) fn keep(&self, item: T) {
        let mut idle = lock(&self.idle);
        if idle.items.len() >= MAX_IDLE {
            // The lock goes first: calls do not wait until the item is dropped.
            drop(idle);
            drop(item);
            return;
        }
        idle.items.push(item);
        if !idle.trimming
            && let Ok(runtime) = Handle::try_current()
        {
            idle.trimming = true;
            // A runtime that shuts down drops the task here, which takes the lock.
            drop(idle);
            self.start_trimming(&runtime);
        }
    }

    fn start_trimming(&self, runtime: &Handle) {
        let trimmer = Trimmer { idle: Arc::downgrade(&self.idle), ended: false };
        let trimmer = runtime.spawn(trimmer.run(self.interval)).abort_handle();
        lock(&self.idle).trimmer = Some(trimmer);
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        lock(&self.idle).items.len()
    }
}

impl<T: Send + 'static> Drop for Pool<T> {
    fn drop(&mut self) {
        let trimmer = lock(&self.idle).trimmer.take();
        if let Some(trimmer) = trimmer {
            trimmer.abort();
        }
    }
}

impl<T> Idle<T> {
    /// Takes out the items that were not needed since the last trim.
    fn trim(&mut self) -> Vec<T> {
        let unneeded = self.items.drain(..self.unused).collect();
        self.unused = self.items.len();
        unneeded
    }
}

/// The task.
struct Trimmer<T> {
    idle: Weak<Mutex<Idle<T>>>,
    ended: bool,
}

impl<T> Trimmer<T> {
    async fn run(mut self, interval: Duration) {
        while !self.ended {
            sleep(interval).await;
            let Some(idle) = self.idle.upgrade() else { return };
            let unneeded = {
                let mut idle = lock(&idle);
                let unneeded = idle.trim();
                self.ended = idle.items.is_empty();
                idle.trimming = !self.ended;
                unneeded
            };
            // Only now, so that no call has to wait for this.
            drop(unneeded);
        }
    }
}

impl<T> Drop for Trimmer<T> {
    fn drop(&mut self) {
        // Its runtime was shut down. The next item starts a task on a runtime that lives.
        if !self.ended
            && let Some(idle) = self.idle.upgrade()
        {
            lock(&idle).trimming = false;
        }
    }
}

fn lock<T>(idle: &Mutex<Idle<T>>) -> MutexGuard<'_, Idle<T>> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tokio::runtime::Builder;

    use super::*;

    const LONG: Duration = Duration::from_secs(60 * 60);

    fn filled(items: usize) -> Pool<usize> {
        let pool = Pool::new(LONG);
        (0..items).for_each(|item| pool.keep(item));
        pool
    }

    #[test]
    fn the_pool_keeps_the_items_that_were_in_use_at_the_same_time() {
        let pool = filled(100);
        lock(&pool.idle).trim();
        let used: Vec<_> = (0..30).filter_map(|_| pool.take()).collect();
        used.into_iter().for_each(|item| pool.keep(item));
        assert_eq!(lock(&pool.idle).trim(), Vec::from_iter(0..70));
        assert_eq!(lock(&pool.idle).trim().len(), 30);
    }

    #[test]
    fn the_pool_has_an_upper_bound() {
        assert_eq!(filled(MAX_IDLE + 1).len(), MAX_IDLE);
    }

    #[tokio::test]
    async fn one_task_trims_and_ends_when_the_pool_is_empty() {
        let (pool, tasks) = (Pool::new(Duration::from_millis(1)), Handle::current().metrics());
        for _ in 0..2 {
            (0..100).for_each(|item| pool.keep(item));
            assert_eq!(tasks.num_alive_tasks(), 1);
            while tasks.num_alive_tasks() > 0 {
                tokio::task::yield_now().await;
            }
            assert_eq!(pool.len(), 0);
        }
    }

    #[tokio::test]
    async fn a_pool_that_is_dropped_leaves_no_task() {
        drop(filled(1));
        while Handle::current().metrics().num_alive_tasks() > 0 {
            tokio::task::yield_now().await;
        }
    }

    #[test]
    fn a_pool_outlives_a_runtime() {
        let pool = Pool::new(LONG);
        for _ in 0..2 {
            let runtime = Builder::new_current_thread().enable_time().build().unwrap();
            runtime.block_on(async { pool.keep(1) });
            assert!(lock(&pool.idle).trimming);
            drop(runtime);
            assert!(!lock(&pool.idle).trimming);
        }
    }
}
