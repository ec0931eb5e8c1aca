//! Removes values whose caller was cancelled.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

use crate::store::{Cache, ErrorKind, QuorumMember};
use crate::time::now;

/// The values to withdraw from one store, and the task that does it while there are any. An outage costs one task and a bounded set,
/// however many calls it makes fail.
pub(crate) struct OrphanCleanup(Arc<Inner>);

/// When there are more values than this, the oldest one is left to expire.
const MAX_ORPHANS: usize = 50_000;
const MAX_ATTEMPTS: usize = 32;
/// More than a store takes to notice that its connection is broken: an attempt that is given up before that would be repeated on the same
/// connection.
const TIMEOUT: Duration = Duration::from_secs(10);
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Where the values are.
#[derive(Clone)]
pub(crate) enum Store {
    Cache(Arc<dyn Cache>),
    Member(Arc<dyn QuorumMember>),
}

struct Inner {
    store: Store,
    tasks: TaskTracker,
    orphans: Mutex<Orphans>,
}

#[derive(Default)]
struct Orphans {
    /// By age.
    values: BTreeMap<u64, Arc<Orphan>>,
    last: u64,
    running: bool,
}

pub(crate) struct Orphan {
    pub(crate) key: String,
    pub(crate) value: String,
    /// The revisions of the votes to withdraw, if later votes for the value are to stay. Only for members.
    pub(crate) votes: Option<RangeInclusive<u64>>,
    /// From here on the store cannot have the value any more.
    pub(crate) gone: Instant,
}

impl OrphanCleanup {
    pub(crate) fn new(store: Store, tasks: TaskTracker) -> Self {
        Self(Arc::new(Inner { store, tasks, orphans: Mutex::default() }))
    }

    /// Withdraws the value again and again until the store has answered, or until the value is gone.
    pub(crate) fn add(&self, orphan: Orphan, runtime: &Handle) {
        let running = self.0.orphans().add(orphan);
        if !running {
            self.0.tasks.spawn_on(Cleaner { inner: self.0.clone(), ended: false }.run(), runtime);
        }
    }
}

impl Inner {
    fn orphans(&self) -> MutexGuard<'_, Orphans> {
        self.orphans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets the values for which the store has answered, and says how many they are.
    fn forget<'a>(&self, asked: impl Iterator<Item = (&'a (u64, Arc<Orphan>), bool)>) -> usize {
        let mut orphans = self.orphans();
        asked.filter(|(_, answered)| *answered).inspect(|((number, _), _)| _ = orphans.values.remove(number)).count()
    }

    /// Whether the store has answered.
    async fn withdraw(&self, orphan: Arc<Orphan>) -> bool {
        let Orphan { key, value, votes, .. } = &*orphan;
        let withdrawn = async {
            match (&self.store, votes) {
                (Store::Member(member), Some(votes)) => member.withdraw_vote(key, value, votes.clone()).await,
                (Store::Member(member), None) => member.withdraw(key, value).await,
                (Store::Cache(cache), _) => cache.withdraw(key, value).await,
            }
        };
        match timeout(TIMEOUT, withdrawn).await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => matches!(error.kind(), ErrorKind::Denied | ErrorKind::Invalid),
            Err(_) => false,
        }
    }
}

impl Orphans {
    /// Answers whether a task takes care of it already.
    fn add(&mut self, orphan: Orphan) -> bool {
        if self.values.len() >= MAX_ORPHANS {
            self.values.pop_first();
        }
        self.last += 1;
        self.values.insert(self.last, Arc::new(orphan));
        std::mem::replace(&mut self.running, true)
    }

    /// Some values that come after the number `last`, so that each has its turn although others fail again and again.
    fn next(&mut self, last: u64) -> Vec<(u64, Arc<Orphan>)> {
        let now = now();
        self.values.retain(|_, orphan| orphan.gone > now);
        let (later, earlier) = (self.values.range(last + 1..), self.values.range(..=last));
        later.chain(earlier).take(MAX_ATTEMPTS).map(|(number, orphan)| (*number, orphan.clone())).collect()
    }
}

/// The task.
struct Cleaner {
    inner: Arc<Inner>,
    ended: bool,
}

impl Cleaner {
    async fn run(mut self) {
        let (mut last, mut pause) = (0, SHORTEST_PAUSE);
        while let Some(batch) = self.next(last) {
            last = batch.last().map_or(0, |(number, _)| *number);
            let answers = join_all(batch.iter().map(|(_, orphan)| self.inner.withdraw(orphan.clone()))).await;
            let answered = self.inner.forget(batch.iter().zip(answers));
            if answered > 0 {
                pause = SHORTEST_PAUSE;
            }
            if answered < batch.len() {
                sleep(pause).await;
                pause = (2 * pause).min(LONGEST_PAUSE);
            }
        }
    }

    /// The next values. When there are none, the task has ended.
    fn next(&mut self, last: u64) -> Option<Vec<(u64, Arc<Orphan>)>> {
        let mut orphans = self.inner.orphans();
        let batch = orphans.next(last);
        if batch.is_empty() {
            orphans.running = false;
            self.ended = true;
            return None;
        }
        Some(batch)
    }
}

impl Drop for Cleaner {
    fn drop(&mut self) {
        // Its runtime was shut down. The next orphan starts a task on a runtime that lives.
        if !self.ended {
            self.inner.orphans().running = false;
        }
    }
}

/// What all of these futures answer. They run at the same time, in this task.
async fn join_all<T>(futures: impl Iterator<Item = impl Future<Output = T> + Send>) -> Vec<T> {
    let mut futures: Vec<Pin<Box<_>>> = futures.map(Box::pin).collect();
    let mut answers: Vec<Option<T>> = futures.iter().map(|_| None).collect();
    poll_fn(|context| {
        for (future, answer) in futures.iter_mut().zip(&mut answers).filter(|(_, answer)| answer.is_none()) {
            if let Poll::Ready(ready) = future.as_mut().poll(context) {
                *answer = Some(ready);
            }
        }
        if answers.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    answers.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;

    use super::*;
    use crate::store::{CacheError, DeleteOutcome, Entry, ExtendOutcome, SetOutcome};

    const LONG: Duration = Duration::from_secs(60);

    /// A store that answers to withdrawals only, and so many times not even to them.
    #[derive(Default)]
    struct Away {
        failures: AtomicUsize,
        withdrawn: Mutex<Vec<String>>,
        refuses: bool,
    }

    #[async_trait]
    impl Cache for Away {
        async fn try_set(&self, _: &str, _: &str, _: Option<Duration>) -> Result<SetOutcome, CacheError> {
            std::future::pending().await
        }
        async fn extend_if_equal(&self, _: &str, _: &str, _: Duration) -> Result<ExtendOutcome, CacheError> {
            std::future::pending().await
        }
        async fn delete_if_equal(&self, _: &str, _: &str) -> Result<DeleteOutcome, CacheError> {
            std::future::pending().await
        }
        async fn get(&self, _: &str) -> Result<Option<Entry>, CacheError> {
            std::future::pending().await
        }
        async fn withdraw(&self, _: &str, value: &str) -> Result<(), CacheError> {
            match self.failures.try_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)) {
                Ok(left) if left > 1 << 20 => std::future::pending().await,
                Ok(_) => Err(CacheError::new(ErrorKind::Unavailable, "away")),
                Err(_) => {
                    self.withdrawn.lock().unwrap().push(value.to_owned());
                    if self.refuses { Err(CacheError::new(ErrorKind::Denied, "no")) } else { Ok(()) }
                }
            }
        }
    }

    fn orphan(value: &str, ttl: Duration) -> Orphan {
        Orphan { key: "key".to_owned(), value: value.to_owned(), votes: None, gone: now() + ttl }
    }

    /// The clean-up of a store, with values to withdraw.
    fn cleanup(cache: Arc<Away>, values: usize, ttl: Duration) -> OrphanCleanup {
        let cleanup = OrphanCleanup::new(Store::Cache(cache), TaskTracker::new());
        cleanup.0.tasks.close();
        for value in 0..values {
            cleanup.add(orphan(&value.to_string(), ttl), &Handle::current());
        }
        cleanup
    }

    #[tokio::test]
    async fn an_outage_costs_one_task_and_a_bounded_set() {
        let a_minute_of_calls = 60 * 1000;
        let away = Away { failures: AtomicUsize::new(usize::MAX), ..Away::default() };
        let cleanup = cleanup(Arc::new(away), a_minute_of_calls, LONG);
        tokio::task::yield_now().await;
        assert_eq!(Handle::current().metrics().num_alive_tasks(), 1);
        let orphans = cleanup.0.orphans();
        assert_eq!(orphans.values.len(), MAX_ORPHANS);
        assert_eq!(orphans.values.last_key_value().unwrap().1.value, (a_minute_of_calls - 1).to_string());
    }

    #[tokio::test]
    async fn every_value_is_withdrawn_once_and_then_the_task_ends() {
        let cache = Arc::<Away>::default();
        let cleanup = cleanup(cache.clone(), 100, LONG);
        for values in [100, 101] {
            cleanup.0.tasks.wait().await;
            assert_eq!(cache.withdrawn.lock().unwrap().len(), values);
            assert!(cleanup.0.orphans().values.is_empty());
            cleanup.add(orphan("another", LONG), &Handle::current());
        }
    }

    #[tokio::test]
    async fn a_withdrawal_that_failed_is_repeated() {
        let cache = Arc::new(Away { failures: AtomicUsize::new(3), ..Away::default() });
        cleanup(cache.clone(), 2, LONG).0.tasks.wait().await;
        assert_eq!(*cache.withdrawn.lock().unwrap(), ["1", "0"]);
    }

    #[tokio::test]
    async fn a_refusal_is_an_answer() {
        let cache = Arc::new(Away { refuses: true, ..Away::default() });
        cleanup(cache.clone(), 1, LONG).0.tasks.wait().await;
        assert_eq!(*cache.withdrawn.lock().unwrap(), ["0"]);
    }

    #[tokio::test]
    async fn a_value_that_has_expired_is_not_withdrawn() {
        let cache = Arc::<Away>::default();
        cleanup(cache.clone(), 1, Duration::ZERO).0.tasks.wait().await;
        assert!(cache.withdrawn.lock().unwrap().is_empty());
    }

    #[test]
    fn values_outlive_a_runtime_and_are_withdrawn_on_the_next_one() {
        let cache = Arc::<Away>::default();
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        // The task of the first runtime never runs.
        let cleanup = runtime().block_on(async { cleanup(cache.clone(), 1, LONG) });
        runtime().block_on(async {
            cleanup.add(orphan("another", LONG), &Handle::current());
            cleanup.0.tasks.wait().await;
        });
        assert_eq!(*cache.withdrawn.lock().unwrap(), ["0", "another"]);
    }
}
