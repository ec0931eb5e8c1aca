//! What the sandbox costs: taking and releasing a lock in memory, by the component and by the same rules in native code, on the same store.

#![allow(clippy::expect_used, missing_docs, reason = "what fails here ends the measurement")]

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use locker_guest::cache::{self as rules, DeleteOutcome, Entry, Error, ExtendOutcome, SetOutcome, Stored};
use locker_guest::lock::{Lock as Outcome, Options, lock, unlock};
use locker_host::{Cache, LockOptions, Locker, Memory};

const LONG: Duration = Duration::from_secs(3600);

fn pairs(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("lock and unlock, in memory");
    group.bench_function("native", |bencher| {
        let mut store = Native(Memory::default());
        bencher.iter(|| native_pair(&mut store));
    });
    group.bench_function("component", |bencher| {
        let (locker, runtime) = (Locker::new(Memory::default()).expect("the component runs"), runtime());
        bencher.to_async(&runtime).iter(|| pair(&locker));
    });
    group.finish();
}

fn held(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("lock and unlock, while others are held");
    for held in [1, 1_000, 1_000_000] {
        let (memory, runtime) = (Memory::default(), runtime());
        let hold = async |number| memory.try_set(&format!("held-{number}"), "token", Some(LONG)).await;
        let locker = Locker::new(memory.clone()).expect("the component runs");
        group.bench_function(held.to_string(), |bencher| {
            for number in 0..held {
                runtime.block_on(hold(number)).expect("it is held or free");
            }
            bencher.to_async(&runtime).iter(|| pair(&locker));
        });
    }
    group.finish();
}

fn start(criterion: &mut Criterion) {
    let runtime = runtime();
    let locker = Locker::new(Memory::default()).expect("the component runs");
    criterion.bench_function("a locker's first pair", |bencher| {
        // Nothing of it is warm but the compiled code.
        let fresh = || Locker::new(Memory::default()).expect("the component runs");
        bencher.to_async(&runtime).iter_batched(
            fresh,
            |locker| async move { pair(&locker).await },
            BatchSize::SmallInput,
        );
    });
    drop(locker);
}

criterion_group!(benches, pairs, held, start);
criterion_main!(benches);

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

async fn pair(locker: &Locker) {
    let lock = locker.lock("job", LockOptions::from(LONG)).await.expect("memory is there");
    let lease = lock.granted().expect("it is free");
    locker.unlock("job", &lease.token).await.expect("memory is there");
}

fn native_pair(store: &mut Native) {
    let options = Options { ttl_ms: Some(3_600_000), ..Options::default() };
    let Ok(Outcome::Granted(lease)) = lock(store, "job", &options) else { panic!("it is free") };
    unlock(store, "job", &lease.token).expect("memory is there");
}

/// The same store for the rules as native code. Nothing ever waits here.
struct Native(Memory);

fn now<T>(step: impl Future<Output = T>) -> T {
    match pin!(step).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => unreachable!("memory answers at once"),
    }
}

fn millis(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)
}

fn stored(stored: locker_host::cache::Stored) -> Stored {
    Stored { revision: stored.revision, ttl_ms: millis(stored.deadline.saturating_duration_since(Instant::now())) }
}

fn entry(entry: locker_host::cache::Entry) -> Entry {
    Entry { value: entry.value, revision: entry.revision, ttl_ms: entry.ttl.map(millis) }
}

fn extended(outcome: locker_host::cache::ExtendOutcome) -> ExtendOutcome {
    match outcome {
        locker_host::cache::ExtendOutcome::Extended(answer) => ExtendOutcome::Extended(stored(answer)),
        locker_host::cache::ExtendOutcome::Absent => ExtendOutcome::Absent,
        locker_host::cache::ExtendOutcome::Different => ExtendOutcome::Different,
    }
}

fn failed(error: locker_host::CacheError) -> Error {
    Error::Unavailable(error.to_string())
}

impl rules::Cache for Native {
    fn set_if_absent(
        &mut self,
        key: &str,
        value: &str,
        ttl_ms: Option<u64>,
        wait_ms: u64,
    ) -> Result<SetOutcome, Error> {
        let (ttl, wait) = (ttl_ms.map(Duration::from_millis), Duration::from_millis(wait_ms));
        Ok(match now(self.0.set_if_absent(key, value, ttl, wait)).map_err(failed)? {
            locker_host::cache::SetOutcome::Stored(answer) => SetOutcome::Stored(stored(answer)),
            locker_host::cache::SetOutcome::Occupied(answer) => SetOutcome::Occupied(entry(answer)),
        })
    }

    fn extend_if_equal(&mut self, key: &str, value: &str, ttl_ms: u64) -> Result<ExtendOutcome, Error> {
        now(self.0.extend_if_equal(key, value, Duration::from_millis(ttl_ms))).map_err(failed).map(extended)
    }

    fn replace_if_equal(&mut self, key: &str, value: &str, by: &str, ttl_ms: u64) -> Result<ExtendOutcome, Error> {
        let ttl = Duration::from_millis(ttl_ms);
        now(self.0.replace_if_equal(key, value, by, ttl)).map_err(failed).map(extended)
    }

    fn delete_if_equal(&mut self, key: &str, value: &str) -> Result<DeleteOutcome, Error> {
        Ok(match now(self.0.delete_if_equal(key, value)).map_err(failed)? {
            locker_host::cache::DeleteOutcome::Deleted => DeleteOutcome::Deleted,
            locker_host::cache::DeleteOutcome::Absent => DeleteOutcome::Absent,
            locker_host::cache::DeleteOutcome::Different => DeleteOutcome::Different,
        })
    }

    fn get(&mut self, key: &str) -> Result<Option<Entry>, Error> {
        Ok(now(self.0.get(key)).map_err(failed)?.map(entry))
    }
}
