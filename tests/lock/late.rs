//! Grants that arrive when their lease is over, or nearly: they do not count, and no work begins.

use std::time::{Duration, Instant};

use locker_host::{ErrorKind, LockOptions, Locker, LockerCtx, LostReason, Scope, Token, WithOutcome};
use rstest::rstest;

use crate::harness::{
    Backend, Embedded, Fault, LONG, LateStore, LinkMode, Proxy, RedisServer, SHORT, granted, held, until,
};

const TTL: Duration = Duration::from_secs(1);

#[rstest]
#[tokio::test]
async fn a_lock_that_is_over_when_its_answer_arrives_is_not_granted(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start_late(LONG).await;
    store.delay_answer(2 * SHORT);
    let error = store.locker.lock("job", SHORT).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Expired);
    assert!(error.to_string().starts_with(r#"lock "job": it was granted, but its time to live was over"#), "{error}");
    until(async || store.is_free("job").await).await;
}

#[rstest]
#[tokio::test]
async fn a_lock_that_is_granted_too_late_stays_with_a_token_that_was_chosen(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start_late(LONG).await;
    let chosen = |ttl| LockOptions::from(ttl).token(Token::from("5f3a9c1e7b2d4806f1e2d3c4b5a69788".to_owned()));
    store.delay_answer(2 * SHORT);
    let over = store.locker.lock("job", chosen(SHORT)).await.unwrap_err();
    store.delay_answer(4 * TTL);
    let short = store.locker.hold("job", chosen(6 * TTL).expiry_margin(3 * TTL)).await.unwrap_err();
    for error in [over, short] {
        assert!(error.to_string().contains("it was granted to the token, but its time to live was over"), "{error}");
    }
    assert!(!store.is_free("job").await);
}

#[rstest]
#[tokio::test]
async fn a_late_answer_tells_who_holds_the_lock_by_then(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start_late(LONG).await;
    store.delay_answer(2 * TTL);
    let next = async {
        until(async || !store.is_free("job").await).await;
        granted(store.other.lock("job", LockOptions::from(LONG).wait(LONG).owner("next")).await)
    };
    let (late, _) = tokio::join!(store.locker.lock("job", TTL), next);
    assert_eq!(held(late).owner.as_deref(), Some("next"));
}

#[rstest]
#[tokio::test]
async fn a_caller_whose_grant_was_late_waits_again(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start_late(LONG).await;
    store.delay_answer(2 * TTL);
    let started = Instant::now();
    let lease = granted(store.locker.lock("job", LockOptions::from(TTL).wait(LONG)).await);
    assert!(Instant::now() < lease.deadline && started.elapsed() >= 2 * TTL);
    assert_eq!(store.other.inspect("job").await.unwrap().unwrap().fence, lease.fence);
}

#[rstest]
#[tokio::test]
async fn a_lock_with_less_left_than_its_margin_is_released_at_once(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start_late(LONG).await;
    store.delay_answer(4 * TTL);
    let error = store.locker.hold("job", LockOptions::from(6 * TTL).expiry_margin(3 * TTL)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Expired);
    assert!(store.is_free("job").await, "it was released before it would have expired");
}

#[rstest]
#[tokio::test]
async fn work_does_not_begin_under_a_lease_that_is_over(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start_late(LONG).await;
    store.delay_answer(2 * SHORT);
    let ran = store.locker.with("job", SHORT, async |_| panic!("it was begun")).await;
    assert_eq!(ran.map(|_: WithOutcome<()>| ()).unwrap_err().kind(), ErrorKind::Expired);
}

#[rstest]
#[case::through_the_locker(LinkMode::Locker, &["lock", "job", "300", "0"])]
#[case::composed_with_the_component(LinkMode::Cache, &["lock", "job", "300", "0"])]
#[case::through_the_cache(LinkMode::Force, &["set", "job", "value", "300"])]
#[tokio::test]
async fn a_plugin_is_not_granted_a_lock_that_is_over(
    #[case] link_mode: LinkMode,
    #[case] words: &[&str],
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start_late(LONG).await;
    let mut plugin = Embedded::start(link_mode, LockerCtx::new(&store.locker, Scope::new("plugin").unwrap())).await;
    store.delay_answer(2 * SHORT);
    let said = plugin.run(words).await;
    assert!(said.starts_with("unavailable: it was granted, but its time to live was over"), "{said}");
    until(async || store.is_free("plugin/job").await).await;
}

#[rstest]
#[tokio::test]
async fn an_extension_that_is_over_when_its_answer_arrives_does_not_count(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start_late(LONG).await;
    let lease = granted(store.locker.lock("job", LONG).await);
    store.delay_answer(2 * SHORT);
    let error = store.locker.extend("job", &lease.token, SHORT).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Expired);
    assert!(error.to_string().contains("it was extended, but the new time to live was over"), "{error}");
}

#[rstest]
#[tokio::test]
async fn the_default_time_to_live_is_renewed_in_full(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start_late(4 * TTL).await;
    store.delay_answer(2 * TTL);
    let _guard = store.locker.hold("job", LockOptions::default()).await.unwrap().granted().unwrap();
    until(async || left(&store).await > 3 * TTL).await;
}

async fn left(store: &LateStore) -> Duration {
    store.other.inspect("job").await.unwrap().expect("it is held").ttl.unwrap()
}

#[tokio::test]
async fn a_guard_knows_by_the_clock_that_its_lock_is_lost() {
    let locker = Locker::new(locker_host::Memory::default()).unwrap();
    let guard = locker.hold("job", SHORT).await.unwrap().granted().unwrap();
    // As when the whole process is paused: nothing else runs meanwhile.
    std::thread::sleep(SHORT);
    assert!(!guard.is_held());
    assert!(matches!(guard.lost().await, LostReason::Expired(None)), "{guard:?}");
}

#[tokio::test]
async fn a_message_that_comes_late_hands_over_no_lock() {
    let server = RedisServer::start().await;
    let (proxy, holder) = (Proxy::start(&server).await, server.locker());
    let lease = granted(holder.lock("job", LONG).await);
    let late = Locker::new(proxy.redis()).unwrap();
    let late = server.waiter(late, LockOptions::from(TTL).wait(4 * TTL)).await;
    proxy.next(Fault::DelayMessage("message", 3 * TTL));
    holder.unlock("job", &lease.token).await.unwrap();
    // It was handed the lock, does not know, and the lock expires.
    let next = granted(holder.lock("job", LockOptions::from(LONG).wait(LONG)).await);
    assert!(proxy.has_failed());
    assert_eq!(held(late.await.unwrap()).fence, next.fence);
}
