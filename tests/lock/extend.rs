//! Giving a lock more time, or less.

use locker_host::{ErrorKind, ExtendOutcome, LockOptions};
use rstest::rstest;

use crate::harness::{Backend, LONG, RedisServer, SHORT, expiry, extended, granted, key_of, waiting_options};

#[rstest]
#[tokio::test]
async fn it_replaces_the_time_and_keeps_token_and_fence(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    let lease = store.take("job", LONG).await;
    for ttl in [2 * LONG, LONG / 2] {
        let longer = extended(store.locker.extend("job", &lease.token, ttl).await);
        assert_eq!((&longer.token, longer.fence), (&lease.token, lease.fence));
        let left = store.left("job").await;
        assert!(left <= ttl && left > ttl - LONG / 4, "{left:?}");
        assert!(longer.ttl <= ttl && longer.ttl > ttl - LONG / 4);
    }
}

#[rstest]
#[tokio::test]
async fn a_shorter_time_ends_the_lock_earlier(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    let lease = store.take("job", LONG).await;
    extended(store.locker.extend("job", &lease.token, SHORT).await);
    store.take("job", LockOptions::from(LONG).wait(LONG / 2)).await;
}

#[rstest]
#[tokio::test]
async fn an_extended_lock_outlives_its_first_time(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    let lease = store.take("job", SHORT).await;
    extended(store.locker.extend("job", &lease.token, LONG).await);
    expiry().await;
    assert_eq!(store.entry("job").await.unwrap().value, lease.token.as_str());
}

#[rstest]
#[tokio::test]
async fn what_nobody_holds_is_not_extended_and_not_created(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    assert_eq!(store.locker.extend("never locked", "token", LONG).await.unwrap(), ExtendOutcome::Absent);
    let lease = store.take("job", SHORT).await;
    expiry().await;
    assert_eq!(store.locker.extend("job", &lease.token, LONG).await.unwrap(), ExtendOutcome::Absent);
    let lease = store.take("job", LONG).await;
    store.locker.unlock("job", &lease.token).await.unwrap();
    assert_eq!(store.locker.extend("job", &lease.token, LONG).await.unwrap(), ExtendOutcome::Absent);
    assert_eq!((store.entry("job").await, store.entry("never locked").await), (None, None));
}

#[rstest]
#[tokio::test]
async fn a_wrong_token_leaves_the_time_alone(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    let old = store.take("job", SHORT).await;
    store.take("job", waiting_options()).await;
    for token in [old.token.as_str(), "wrong"] {
        assert_eq!(store.locker.extend("job", token, 10 * LONG).await.unwrap(), ExtendOutcome::HeldByOther);
    }
    assert!(store.left("job").await <= LONG);
}

#[rstest]
#[tokio::test]
async fn name_and_token_alone_extend_from_another_host(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    let lease = store.take("job", LONG).await;
    extended(store.another_host().extend("job", lease.token.as_str(), 2 * LONG).await);
    assert!(store.left("job").await > LONG);
}

#[tokio::test]
async fn an_extension_keeps_its_fence_though_the_server_lost_the_counter() {
    let server = RedisServer::start().await;
    let locker = server.locker();
    let lease = granted(locker.lock("job", LONG).await);
    let _: u64 = server.run(&["DEL", &key_of("fence", "job")]).await;
    assert_eq!(extended(locker.extend("job", &lease.token, LONG).await).fence, lease.fence);
}

#[tokio::test]
async fn a_store_that_is_down_is_an_error() {
    let mut server = RedisServer::start().await;
    let locker = server.locker();
    let lease = granted(locker.lock("job", LONG).await);
    server.kill();
    let error = locker.extend("job", &lease.token, LONG).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}
