//! Work that is done once per period.

use std::sync::Arc;
use std::time::Duration;

use locker_host::{
    ErrorKind, ExtendOutcome, LockOptions, LockOutcome, Locker, Memory, Quorum, QuorumMember, UnlockOutcome,
};
use rstest::rstest;

use crate::harness::{Backend, Distant, LONG, SHORT, expiry, granted, held, waiting_options};

#[rstest]
#[tokio::test]
async fn a_lock_stays_taken_when_the_work_is_done_and_tells_by_whom(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    let lease = store.take("job", LockOptions::from(LONG).owner("me")).await;
    assert_eq!(store.locker.complete("job", &lease.token, 10 * LONG).await.unwrap(), UnlockOutcome::Released);
    let holder = held(store.another_host().lock("job", LONG).await);
    assert_eq!((holder.owner.as_deref(), holder.fence), (Some("me"), lease.fence));
    assert!(holder.done.unwrap() < LONG && holder.ttl.unwrap() > 9 * LONG, "{holder:?}");
    assert_eq!(store.locker.inspect("job").await.unwrap().unwrap().fence, lease.fence);
}

#[rstest]
#[tokio::test]
async fn no_token_releases_or_extends_it_then(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    let lease = store.take("job", LONG).await;
    store.locker.complete("job", &lease.token, LONG).await.unwrap();
    let record = store.entry("job").await.unwrap().value;
    assert_eq!(store.locker.unlock("job", &lease.token).await.unwrap(), UnlockOutcome::HeldByOther);
    assert_eq!(store.locker.extend("job", &lease.token, LONG).await.unwrap(), ExtendOutcome::HeldByOther);
    assert_eq!(store.locker.unlock("job", record).await.unwrap_err().kind(), ErrorKind::Invalid);
}

#[rstest]
#[tokio::test]
async fn it_is_free_when_the_period_is_over(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    let lease = store.take("job", LONG).await;
    store.locker.complete("job", &lease.token, SHORT).await.unwrap();
    let next = granted(store.locker.lock("job", waiting_options()).await);
    assert!(next.fence > lease.fence);
}

#[rstest]
#[tokio::test]
async fn only_the_holder_completes_it(#[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend) {
    let store = backend.start().await;
    assert_eq!(store.locker.complete("job", "token", LONG).await.unwrap(), UnlockOutcome::Absent);
    let lease = store.take("job", SHORT).await;
    expiry().await;
    store.take("job", LONG).await;
    assert_eq!(store.locker.complete("job", &lease.token, LONG).await.unwrap(), UnlockOutcome::HeldByOther);
    assert!(store.locker.inspect("job").await.unwrap().unwrap().done.is_none());
}

#[rstest]
#[tokio::test]
async fn a_repeated_completion_is_the_same(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    let lease = store.take("job", LONG).await;
    for _ in 0..2 {
        assert_eq!(store.locker.complete("job", &lease.token, LONG).await.unwrap(), UnlockOutcome::Released);
    }
}

#[rstest]
#[tokio::test]
async fn a_period_may_be_longer_than_a_lock(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let (store, week) = (backend.start().await, Duration::from_secs(7 * 24 * 60 * 60));
    let LockOutcome::Granted(guard) = store.locker.hold("job", LONG).await.unwrap() else { panic!("it is held") };
    assert_eq!(guard.complete(week).await.unwrap(), UnlockOutcome::Released);
    assert!(store.left("job").await > week - LONG);
}

#[tokio::test]
async fn a_guard_keeps_the_lock_until_a_period_after_it_was_acquired() {
    let store = Backend::Memory.start().await;
    let LockOutcome::Granted(guard) = store.locker.hold("job", LONG).await.unwrap() else { panic!("it is held") };
    tokio::time::sleep(SHORT).await;
    assert_eq!(guard.complete(LONG).await.unwrap(), UnlockOutcome::Released);
    assert!(store.left("job").await <= LONG - SHORT);
    let LockOutcome::Granted(guard) = store.locker.hold("other", LONG).await.unwrap() else { panic!("it is held") };
    tokio::time::sleep(SHORT).await;
    assert_eq!(guard.complete(SHORT).await.unwrap(), UnlockOutcome::Released);
    store.take("other", LONG).await;
}

#[tokio::test]
async fn a_quorum_records_it_on_a_majority() {
    let members = [0, 1, 2].map(|_| Distant::new(Memory::default(), Duration::ZERO..Duration::from_millis(1)));
    members[2].hang();
    let quorum = Quorum::new(members.map(|member| member as Arc<dyn QuorumMember>).into()).unwrap();
    let locker = Locker::new(quorum).unwrap();
    let lease = granted(locker.lock("job", LONG).await);
    for _ in 0..2 {
        assert_eq!(locker.complete("job", &lease.token, 10 * LONG).await.unwrap(), UnlockOutcome::Released);
    }
    let holder = held(locker.lock("job", LONG).await);
    assert!(holder.done.is_some() && holder.ttl.unwrap() > 9 * LONG, "{holder:?}");
}
