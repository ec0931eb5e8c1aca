//! Many who want the same lock at once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use locker_host::{LockOutcome, Locker, UnlockOutcome};
use rstest::rstest;
use tokio::task::JoinSet;

use crate::harness::{Backend, LONG, RedisServer, granted, held, until, waiting_options};

#[rstest]
#[tokio::test]
async fn of_100_concurrent_callers_exactly_one_wins(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    let mut callers = JoinSet::new();
    for _ in 0..100 {
        let locker = store.locker.clone();
        callers.spawn(async move { locker.lock("job", LONG).await.unwrap() });
    }
    let outcomes = callers.join_all().await;
    assert_eq!(outcomes.iter().filter(|outcome| matches!(outcome, LockOutcome::Granted(_))).count(), 1);
}

#[rstest]
#[tokio::test]
async fn unprotected_increments_under_the_lock_are_never_lost(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    // Two hosts that share the store behave as one.
    let hosts = [store.locker.clone(), store.another_host()];
    let counter = Arc::new(AtomicU64::new(0));
    let mut workers = JoinSet::new();
    for worker in 0..8 {
        workers.spawn(increment(hosts[worker % 2].clone(), counter.clone(), 25));
    }
    workers.join_all().await;
    assert_eq!(counter.load(Ordering::Relaxed), 8 * 25);
}

async fn increment(locker: Locker, counter: Arc<AtomicU64>, times: usize) {
    for _ in 0..times {
        let lease = granted(locker.lock("counter", waiting_options()).await);
        let seen = counter.load(Ordering::Relaxed);
        tokio::task::yield_now().await;
        counter.store(seen + 1, Ordering::Relaxed);
        assert_eq!(locker.unlock("counter", &lease.token).await.unwrap(), UnlockOutcome::Released);
    }
}

#[rstest]
#[tokio::test]
async fn lock_right_after_unlock_works_ten_times_in_a_row(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    for _ in 0..10 {
        let lease = store.take("job", LONG).await;
        assert_eq!(store.locker.unlock("job", &lease.token).await.unwrap(), UnlockOutcome::Released);
    }
}

#[rstest]
#[tokio::test]
async fn two_hosts_that_share_a_store_behave_as_one(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    let other = store.another_host();
    let lease = store.take("job", LONG).await;
    held(other.lock("job", LONG).await);
    assert_eq!(other.unlock("job", &lease.token).await.unwrap(), UnlockOutcome::Released);
    granted(other.lock("job", LONG).await);
    held(store.locker.lock("job", LONG).await);
}

#[tokio::test]
async fn a_thousand_waiters_are_served_in_order_and_each_hand_off_costs_the_same() {
    let server = RedisServer::start().await;
    let (locker, served) = (server.locker(), Arc::<Mutex<Vec<String>>>::default());
    let mut costs = Vec::new();
    for waiters in [10, 1000] {
        let first = granted(locker.lock("job", LONG).await);
        let mut calls = JoinSet::new();
        for _ in 0..waiters {
            calls.spawn(take_turn(locker.clone(), served.clone()));
        }
        until(async || server.queued("job").await == waiters).await;
        let queue: Vec<_> = server.entries("job").await.into_iter().map(|[_, _, token]| token).collect();
        let before = calls_of(&server, "").await;
        locker.unlock("job", &first.token).await.unwrap();
        calls.join_all().await;
        costs.push((calls_of(&server, "").await - before) as f64 / waiters as f64);
        assert_eq!(std::mem::take(&mut *served.lock().unwrap()), queue);
    }
    // A release has 10 commands, those in its script included. A report has 12 more: on a slow machine, there are a few.
    assert!(costs.iter().all(|cost| *cost < 13.0), "commands for each hand-off: {costs:?}");
}

#[tokio::test]
async fn a_hand_off_among_callers_of_one_host_costs_two_requests_and_fifteen_commands() {
    const WAITERS: u64 = 8;
    const TURNS: u64 = 25;
    let server = RedisServer::start().await;
    let (locker, served) = (server.locker(), Arc::<Mutex<Vec<String>>>::default());
    let mut calls = JoinSet::new();
    // Counting begins when all of them wait.
    let first = granted(locker.lock("job", LONG).await);
    for _ in 0..WAITERS {
        let (locker, served) = (locker.clone(), served.clone());
        calls.spawn(async move {
            for _ in 0..TURNS {
                take_turn(locker.clone(), served.clone()).await;
            }
        });
    }
    until(async || server.queued("job").await == WAITERS).await;
    let before = (calls_of(&server, "evalsha").await, calls_of(&server, "").await);
    locker.unlock("job", &first.token).await.unwrap();
    calls.join_all().await;
    let each = |calls| calls as f64 / (WAITERS * TURNS) as f64;
    let requests = each(calls_of(&server, "evalsha").await - before.0);
    let commands = each(calls_of(&server, "").await - before.1);
    // A report, of 12 commands, comes every half second at most.
    assert!(requests < 2.2 && commands < 17.0, "{requests} requests and {commands} commands for each hand-off");
}

async fn take_turn(locker: Locker, served: Arc<Mutex<Vec<String>>>) {
    let lease = granted(locker.lock("job", waiting_options()).await);
    served.lock().unwrap().push(lease.token.as_str().to_owned());
    locker.unlock("job", &lease.token).await.unwrap();
}

/// How often the server has run a command, in scripts too; or all commands.
async fn calls_of(server: &RedisServer, command: &str) -> u64 {
    let stats: String = server.run(&["INFO", "commandstats"]).await;
    let lines = stats.lines().filter_map(|line| line.strip_prefix("cmdstat_")?.split_once(":calls="));
    let lines = lines.filter(|(name, _)| command.is_empty() || *name == command);
    lines.filter_map(|(_, rest)| rest.split_once(',')?.0.parse::<u64>().ok()).sum()
}
