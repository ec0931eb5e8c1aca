//! Who may release a lock, and what is left after it.

use locker_host::{ErrorKind, LockOptions, UnlockOutcome};
use rstest::rstest;

use crate::harness::{Backend, LONG, RedisServer, SHORT, expiry, granted, key_of, waiting_options};

#[rstest]
#[tokio::test]
async fn the_owner_releases(#[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend) {
    let store = backend.start().await;
    let lease = store.take("job", LONG).await;
    assert_eq!(store.locker.unlock("job", &lease.token).await.unwrap(), UnlockOutcome::Released);
    assert_eq!(store.entry("job").await, None);
}

#[rstest]
#[tokio::test]
async fn a_wrong_token_releases_nothing(#[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend) {
    let store = backend.start().await;
    let lease = store.take("job", LONG).await;
    assert_eq!(store.locker.unlock("job", "wrong").await.unwrap(), UnlockOutcome::HeldByOther);
    let entry = store.entry("job").await.unwrap();
    assert_eq!(entry.value, lease.token.as_str());
    assert!(entry.ttl.unwrap() > LONG / 2);
}

#[rstest]
#[tokio::test]
async fn what_nobody_holds_is_absent_and_no_error(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    assert_eq!(store.locker.unlock("never locked", "token").await.unwrap(), UnlockOutcome::Absent);
    let lease = store.take("released", LONG).await;
    store.locker.unlock("released", &lease.token).await.unwrap();
    assert_eq!(store.locker.unlock("released", &lease.token).await.unwrap(), UnlockOutcome::Absent);
    let lease = store.take("expired", SHORT).await;
    expiry().await;
    assert_eq!(store.locker.unlock("expired", &lease.token).await.unwrap(), UnlockOutcome::Absent);
}

#[rstest]
#[tokio::test]
async fn a_lock_that_expired_and_was_taken_by_another_is_left_alone(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    let old = store.take("job", SHORT).await;
    let new = store.take("job", waiting_options()).await;
    assert_eq!(store.locker.unlock("job", &old.token).await.unwrap(), UnlockOutcome::HeldByOther);
    assert_eq!(store.entry("job").await.unwrap().value, new.token.as_str());
}

#[rstest]
#[tokio::test]
async fn only_the_whole_token_counts(#[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend) {
    let store = backend.start().await;
    let lease = store.take("job", LockOptions::from(LONG).owner("me")).await;
    let token = lease.token.as_str();
    let upper = token.to_uppercase();
    for near in
        [&token[..token.len() - 1], &token[1..], &format!("{token}0"), &format!(" {token}"), "me", "me:", &upper]
    {
        assert_eq!(store.locker.unlock("job", near).await.unwrap(), UnlockOutcome::HeldByOther, "{near}");
    }
    assert_eq!(store.locker.unlock("job", token).await.unwrap(), UnlockOutcome::Released);
}

#[rstest]
#[tokio::test]
async fn name_and_token_alone_release_from_another_host(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    let token = store.take("job", LONG).await.token.as_str().to_owned();
    assert_eq!(store.another_host().unlock("job", token).await.unwrap(), UnlockOutcome::Released);
}

#[tokio::test]
async fn after_a_release_only_the_fence_counter_of_its_slot_is_left() {
    let server = RedisServer::start().await;
    let locker = server.locker();
    let lease = granted(locker.lock("job", LONG).await);
    locker.unlock("job", &lease.token).await.unwrap();
    assert_eq!(server.keys().await, [key_of("fence", "job")]);
}

#[tokio::test]
async fn a_store_that_is_down_is_an_error_and_not_absent() {
    let mut server = RedisServer::start().await;
    let locker = server.locker();
    let lease = granted(locker.lock("job", LONG).await);
    server.kill();
    let error = locker.unlock("job", &lease.token).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().starts_with(r#"lock "job": Redis at 127.0.0.1:"#), "{error}");
}
