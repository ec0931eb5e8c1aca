//! Taking a lock from its holder.

use locker_host::{ErrorKind, LockOptions, UnlockOutcome};
use rstest::rstest;

use crate::harness::{Backend, LONG, RedisServer, granted, waiting_options};

#[rstest]
#[tokio::test]
async fn a_lock_that_is_revoked_is_free(#[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend) {
    let store = backend.start().await;
    let lease = store.take("job", LONG).await;
    assert_eq!(store.another_host().revoke("job", None).await.unwrap(), UnlockOutcome::Released);
    assert_eq!(store.locker.revoke("job", None).await.unwrap(), UnlockOutcome::Absent);
    assert_eq!(store.locker.unlock("job", &lease.token).await.unwrap(), UnlockOutcome::Absent);
    assert!(store.take("job", LONG).await.fence > lease.fence);
}

#[rstest]
#[tokio::test]
async fn the_next_waiter_gets_it(#[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend) {
    let store = backend.start().await;
    store.take("job", LONG).await;
    let first = store.waiter(&store.locker, "job", waiting_options().owner("first")).await;
    let _second = store.waiter(&store.locker, "job", waiting_options()).await;
    store.another_host().revoke("job", None).await.unwrap();
    granted(first.await.unwrap());
    assert_eq!(store.locker.inspect("job").await.unwrap().unwrap().owner.as_deref(), Some("first"));
}

#[rstest]
#[tokio::test]
async fn only_the_holder_with_the_fence_loses_it(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    let old = store.take("job", LONG).await;
    assert_eq!(store.locker.revoke("job", Some(old.fence)).await.unwrap(), UnlockOutcome::Released);
    let lease = store.take("job", LONG).await;
    assert_eq!(store.locker.revoke("job", Some(old.fence)).await.unwrap(), UnlockOutcome::HeldByOther);
    assert_eq!(store.entry("job").await.unwrap().value, lease.token.as_str());
}

#[rstest]
#[tokio::test]
async fn completed_work_can_be_done_again(#[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend) {
    let store = backend.start().await;
    let lease = store.take("job", LockOptions::from(LONG)).await;
    store.locker.complete("job", &lease.token, LONG).await.unwrap();
    assert_eq!(store.locker.revoke("job", Some(lease.fence)).await.unwrap(), UnlockOutcome::Released);
    store.take("job", LONG).await;
}

#[tokio::test]
async fn a_foreign_value_is_not_deleted() {
    let server = RedisServer::start().await;
    () = server.run(&["SET", "lock:job", "foreign"]).await;
    assert_eq!(server.locker().revoke("job", None).await.unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(server.run::<String>(&["GET", "lock:job"]).await, "foreign");
}
