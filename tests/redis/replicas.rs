//! Grants that count only when replicas know of them.

use std::time::Duration;

use locker_host::{ErrorKind, LockOptions, Locker, Redis};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::harness::{LONG, RedisServer, SHORT, extended, granted, held, until, waiting_options};

/// A primary, and a replica that keeps up with it.
async fn pair() -> (RedisServer, RedisServer) {
    let (primary, replica) = (RedisServer::start().await, RedisServer::start().await);
    replica.follow(&primary).await;
    (primary, replica)
}

fn confirmed_by(server: &RedisServer, replicas: u32) -> Locker {
    Locker::new(Redis::open(&format!("{}?wait-replicas={replicas}", server.url())).unwrap()).unwrap()
}

#[tokio::test]
async fn a_grant_that_a_replica_confirms_is_on_the_replica() {
    let (primary, replica) = pair().await;
    let locker = confirmed_by(&primary, 1);
    let lease = granted(locker.lock("job", LONG).await);
    assert_eq!(replica.stored("job").await.unwrap().0, lease.token.as_str());
    assert_eq!(extended(locker.extend("job", &lease.token, LONG).await).fence, lease.fence);
}

#[tokio::test]
async fn a_grant_that_is_not_confirmed_is_given_back() {
    let (primary, _replica) = pair().await;
    let error = confirmed_by(&primary, 2).lock("job", LONG).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("1 replicas have confirmed, and 2 were asked for"), "{error}");
    assert_eq!(primary.run::<u64>(&["EXISTS", "lock:job"]).await, 0);
}

#[tokio::test]
async fn an_extension_that_is_not_confirmed_is_an_error_and_the_lock_is_still_held() {
    let (primary, _replica) = pair().await;
    let lease = granted(primary.locker().lock("job", LONG).await);
    let error = confirmed_by(&primary, 2).extend("job", &lease.token, LONG).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(primary.stored("job").await.unwrap().0, lease.token.as_str());
}

#[tokio::test]
async fn a_lock_that_is_held_is_held_whatever_the_replicas_say() {
    let (primary, _replica) = pair().await;
    granted(primary.locker().lock("job", LONG).await);
    held(confirmed_by(&primary, 2).lock("job", LONG).await);
}

#[tokio::test]
async fn a_lock_that_is_handed_over_is_confirmed_too() {
    let (primary, mut replica) = pair().await;
    let lease = granted(primary.locker().lock("job", LONG).await);
    let waiters: Vec<_> = (0..2).map(|_| confirmed_by(&primary, 1)).collect();
    let mut waiters: JoinSet<_> = waiters
        .into_iter()
        .map(|locker| async move { locker.lock("job", LockOptions::from(LONG).wait(LONG / 10)).await })
        .collect();
    until(async || primary.queued("job").await == 2).await;
    primary.locker().unlock("job", &lease.token).await.unwrap();
    let lease = granted(waiters.join_next().await.unwrap().unwrap());
    assert_eq!(replica.stored("job").await.unwrap().0, lease.token.as_str());
    replica.kill();
    primary.locker().unlock("job", &lease.token).await.unwrap();
    let error = waiters.join_next().await.unwrap().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    until(async || primary.run::<u64>(&["EXISTS", "lock:job"]).await == 0).await;
}

#[tokio::test]
async fn a_hand_off_is_confirmed_when_a_replica_comes_back_after_the_first_lease() {
    let (primary, mut replica) = pair().await;
    let lease = granted(primary.locker().lock("job", LONG).await);
    let options = LockOptions::from(Duration::from_secs(1)).wait(LONG / 2);
    let waiter = primary.waiter(confirmed_by(&primary, 1), options).await;
    replica.kill();
    primary.locker().unlock("job", &lease.token).await.unwrap();
    sleep(Duration::from_secs(3)).await;
    let replica = RedisServer::start().await;
    replica.follow(&primary).await;
    // Each request for the lock waits a second for replicas.
    let lease = granted(timeout(Duration::from_secs(3), waiter).await.unwrap().unwrap());
    assert_eq!(replica.stored("job").await.unwrap().0, lease.token.as_str());
}

#[tokio::test]
async fn a_grant_is_not_confirmed_when_the_replica_is_gone() {
    let (primary, mut replica) = pair().await;
    let locker = confirmed_by(&primary, 1);
    replica.kill();
    assert_eq!(locker.lock("job", LONG).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(primary.run::<u64>(&["EXISTS", "lock:job"]).await, 0);
}

#[tokio::test]
async fn a_waiter_that_still_listens_to_a_former_primary_is_handed_nothing() {
    let (former, primary) = pair().await;
    let lease = granted(former.locker().lock("job", LONG).await);
    let waiter = primary.waiter(former.locker(), LockOptions::from(LONG).wait(10 * SHORT)).await;
    () = primary.run(&["REPLICAOF", "NO", "ONE"]).await;
    former.follow(&primary).await;
    primary.locker().unlock("job", &lease.token).await.unwrap();
    // What is published there is heard here as well, but not by a client of the new primary. It has a second to become one.
    granted(primary.locker().lock("job", waiting_options()).await);
    let outcome = waiter.await.unwrap();
    assert!(outcome.is_err(), "{outcome:?}");
}
