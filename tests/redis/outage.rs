//! A Redis server that goes away and comes back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use locker_host::{ErrorKind, LockOptions, Locker, Quorum, QuorumMember, Redis, UnlockOutcome};
use tokio::runtime::Handle;

use crate::harness::{Distant, LONG, RedisServer, SHORT, granted, until, waiting_options};

#[tokio::test]
async fn a_server_that_is_down_at_the_start_is_unavailable_before_long() {
    let mut server = RedisServer::start().await;
    server.kill();
    let started = Instant::now();
    let error = Redis::connect(&server.url()).await.expect_err("the server is down");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let error = server.locker().lock("job", LONG).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("cannot be reached"), "{error}");
    assert!(started.elapsed() < LONG / 2);
}

#[tokio::test]
async fn the_same_handle_works_when_the_server_is_back() {
    let mut server = RedisServer::start().await;
    let locker = server.locker();
    granted(locker.lock("job", LONG).await);
    server.kill();
    for _ in 0..3 {
        assert_eq!(locker.lock("job", LONG).await.unwrap_err().kind(), ErrorKind::Unavailable);
    }
    server.start_again().await;
    let lease = granted(locker.lock("job", LONG).await);
    assert_eq!(locker.unlock("job", &lease.token).await.unwrap(), UnlockOutcome::Released);
}

#[tokio::test]
async fn a_connection_that_was_cut_while_idle_is_not_noticed_by_the_next_call() {
    let server = RedisServer::start().await;
    let locker = server.locker();
    granted(locker.lock("one", LONG).await);
    let cut: u64 = server.run(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
    assert!(cut > 0);
    granted(locker.lock("two", LONG).await);
}

#[tokio::test]
async fn a_waiter_whose_connection_is_cut_listens_again() {
    let server = RedisServer::start().await;
    let holder = server.locker();
    let lease = granted(holder.lock("job", LONG).await);
    let waiter = server.waiter(server.locker(), waiting_options()).await;
    let cut: u64 = server.run(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    assert_eq!(cut, 1);
    until(async || !server.channels().await.is_empty()).await;
    let released = Instant::now();
    assert_eq!(holder.unlock("job", &lease.token).await.unwrap(), UnlockOutcome::Released);
    granted(waiter.await.unwrap());
    assert!(released.elapsed() < LONG / 2, "it slept until the expiry");
}

#[tokio::test]
async fn a_flushed_script_cache_is_not_noticed() {
    let server = RedisServer::start().await;
    let locker = server.locker();
    for _ in 0..2 {
        () = server.run(&["SCRIPT", "FLUSH"]).await;
        let lease = granted(locker.lock("job", LONG).await);
        () = server.run(&["SCRIPT", "FLUSH"]).await;
        assert_eq!(locker.unlock("job", &lease.token).await.unwrap(), UnlockOutcome::Released);
    }
}

#[tokio::test]
async fn a_request_that_was_never_sent_needs_no_clean_up() {
    let mut server = RedisServer::start().await;
    server.kill();
    let member = |latency| Distant::new(server.redis(), latency..2 * latency) as Arc<dyn QuorumMember>;
    for options in [LockOptions::from(LONG), waiting_options()] {
        let quorum = Quorum::new([1, 1, 50].map(Duration::from_millis).map(member).into()).unwrap();
        for locker in [server.locker(), Locker::new(quorum).unwrap()] {
            assert_eq!(locker.lock("job", options.clone()).await.unwrap_err().kind(), ErrorKind::Unavailable);
            drop(locker);
            until(async || Handle::current().metrics().num_alive_tasks() == 0).await;
        }
    }
}

#[tokio::test]
async fn a_waiter_outlasts_a_restart_of_its_server() {
    let mut server = RedisServer::start().await;
    granted(server.locker().lock("job", LONG).await);
    let waiter = server.waiter(server.locker(), waiting_options()).await;
    server.kill();
    assert!(server.locker().lock("job", LONG).await.is_err());
    server.start_again().await;
    granted(waiter.await.unwrap());
}

#[tokio::test]
async fn a_waiter_whose_server_stays_away_fails_when_its_wait_is_over() {
    let mut server = RedisServer::start().await;
    granted(server.locker().lock("job", LONG).await);
    let waiter = server.waiter(server.locker(), LockOptions::from(LONG).wait(4 * SHORT)).await;
    server.kill();
    assert_eq!(waiter.await.unwrap().unwrap_err().kind(), ErrorKind::Unavailable);
}
