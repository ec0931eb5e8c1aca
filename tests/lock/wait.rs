//! Waiting for a lock that is held.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use locker_host::{ErrorKind, LockOptions, UnlockOutcome};
use rstest::rstest;

use crate::harness::{Backend, LONG, RedisServer, SHORT, granted, held, key_of, until, waiting_options};

#[tokio::test]
async fn without_a_wait_nobody_listens() {
    let server = RedisServer::start().await;
    let locker = server.locker();
    granted(locker.lock("job", LONG).await);
    held(locker.lock("job", LONG).await);
    let stats: String = server.run(&["INFO", "commandstats"]).await;
    assert!(!stats.contains("cmdstat_subscribe"), "{stats}");
}

#[rstest]
#[tokio::test]
async fn a_waiter_gives_up_when_its_time_is_up_and_not_early(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    store.take("job", LockOptions::from(LONG).owner("me")).await;
    let started = Instant::now();
    let holder = held(store.locker.lock("job", LockOptions::from(LONG).wait(SHORT)).await);
    assert!(started.elapsed() >= SHORT, "{:?}", started.elapsed());
    assert_eq!(holder.owner.as_deref(), Some("me"));
}

#[rstest]
#[tokio::test]
async fn a_waiter_is_woken_by_a_release(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
    #[values(true, false)] same_host: bool,
) {
    let store = backend.start().await;
    let lease = store.take("job", LONG).await;
    let locker = if same_host { store.locker.clone() } else { store.another_host() };
    let waiter = store.waiter(&locker, "job", waiting_options()).await;
    let released = Instant::now();
    store.locker.unlock("job", &lease.token).await.unwrap();
    granted(waiter.await.unwrap());
    assert!(released.elapsed() < LONG / 2, "it slept until the expiry");
}

#[rstest]
#[tokio::test]
async fn a_waiter_is_woken_by_an_expiry(#[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend) {
    let store = backend.start().await;
    store.take("job", SHORT).await;
    let started = Instant::now();
    store.take("job", waiting_options()).await;
    assert!(started.elapsed() < LONG / 2, "it slept for as long as it could");
}

#[tokio::test]
async fn a_lost_wake_up_costs_no_more_than_the_holders_time() {
    let server = RedisServer::start().await;
    let locker = server.locker();
    granted(locker.lock("job", Duration::from_secs(1)).await);
    let waiter = server.waiter(locker, waiting_options()).await;
    let deleted: u64 = server.run(&["DEL", "lock:job"]).await;
    assert_eq!(deleted, 1);
    let started = Instant::now();
    granted(waiter.await.unwrap());
    assert!(started.elapsed() < LONG / 2);
}

#[rstest]
#[tokio::test]
async fn a_wait_may_be_longer_than_the_holders_time(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    for _ in 0..3 {
        store.take("job", LockOptions::from(Duration::from_millis(50)).wait(LONG)).await;
    }
}

#[rstest]
#[tokio::test]
async fn a_lock_that_is_extended_keeps_its_waiters_waiting(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    let lease = store.take("job", SHORT).await;
    let waiter = store.waiter(&store.locker, "job", LockOptions::from(LONG).wait(3 * SHORT)).await;
    _ = store.locker.extend("job", &lease.token, LONG).await.unwrap();
    held(waiter.await.unwrap());
}

#[rstest]
#[tokio::test]
async fn a_lock_that_is_shortened_wakes_its_waiters_sooner(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    let lease = store.take("job", LONG).await;
    let waiter = store.waiter(&store.another_host(), "job", waiting_options()).await;
    let started = Instant::now();
    _ = store.locker.extend("job", &lease.token, SHORT).await.unwrap();
    granted(waiter.await.unwrap());
    assert!(started.elapsed() < LONG / 2, "it slept for the old time");
}

#[rstest]
#[tokio::test]
async fn a_cancelled_waiter_takes_no_lock_later(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    let lease = store.take("job", LONG).await;
    let waiter = store.waiter(&store.locker, "job", waiting_options()).await;
    waiter.abort();
    assert!(waiter.await.unwrap_err().is_cancelled());
    until(async || store.queued("job").await == 0).await;
    store.locker.unlock("job", &lease.token).await.unwrap();
    assert_eq!(store.entry("job").await, None);
}

#[tokio::test]
async fn a_cancelled_waiter_leaves_no_key_and_no_subscription() {
    let server = RedisServer::start().await;
    let locker = server.locker();
    let lease = granted(locker.lock("job", LONG).await);
    let waiter = server.waiter(locker.clone(), waiting_options()).await;
    waiter.abort();
    until(async || server.queued("job").await == 0 && server.channels().await.is_empty()).await;
    locker.unlock("job", &lease.token).await.unwrap();
    // What the withdrawal left expires.
    until(async || server.keys().await == [key_of("fence", "job")]).await;
}

#[rstest]
#[tokio::test]
async fn a_caller_that_goes_away_in_the_middle_of_an_attempt_holds_nothing(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    for timeout in (0..200).map(|n| Duration::from_micros(10 * n)) {
        _ = tokio::time::timeout(timeout, store.locker.lock("job", LONG)).await.map(|outcome| {
            // It was granted in time, so it is released here.
            let (locker, lease) = (store.locker.clone(), outcome.unwrap().granted());
            tokio::spawn(async move { locker.unlock("job", lease.unwrap().token).await })
        });
        let lease = store.take("job", waiting_options()).await;
        assert_eq!(store.locker.unlock("job", &lease.token).await.unwrap(), UnlockOutcome::Released);
    }
}

#[rstest]
#[tokio::test]
async fn waiters_of_one_host_are_served_in_order_and_a_dead_one_is_skipped(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    let lease = store.take("job", LONG).await;
    let served = Arc::<Mutex<Vec<usize>>>::default();
    let mut waiters = Vec::new();
    for number in 0..6 {
        let (locker, served) = (store.locker.clone(), served.clone());
        let turn = async move {
            let lease = granted(locker.lock("job", waiting_options()).await);
            served.lock().unwrap().push(number);
            locker.unlock("job", &lease.token).await.unwrap();
        };
        waiters.push(store.queue("job", turn).await);
    }
    waiters.remove(2).abort();
    store.locker.unlock("job", &lease.token).await.unwrap();
    for waiter in waiters {
        waiter.await.unwrap();
    }
    assert_eq!(*served.lock().unwrap(), [0, 1, 3, 4, 5]);
}

#[rstest]
#[tokio::test]
async fn a_late_caller_does_not_overtake_a_waiter(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    let lease = store.take("job", LONG).await;
    let waiter = store.waiter(&store.locker, "job", waiting_options()).await;
    store.locker.unlock("job", &lease.token).await.unwrap();
    // The waiter does not know yet that it has the lock. Without a queue the newcomer would be first.
    let late = LockOptions::from(LONG).wait(SHORT);
    held(store.locker.lock("job", late).await);
    granted(waiter.await.unwrap());
}

#[rstest]
#[tokio::test]
async fn closing_a_host_ends_its_waiters_with_an_error(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    store.take("job", LONG).await;
    let waiter = store.waiter(&store.locker, "job", waiting_options()).await;
    store.locker.close().await;
    assert_eq!(waiter.await.unwrap().unwrap_err().kind(), ErrorKind::Unavailable);
}
