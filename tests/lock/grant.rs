//! Who is granted a lock, and with what.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use locker_host::cache::{DeleteOutcome, Entry, ExtendOutcome, SetOutcome};

use locker_host::{Cache, CacheError, ErrorKind, LockOptions, Locker, Memory, Redis};
use rstest::rstest;

use crate::harness::{Backend, LONG, RedisServer, SHORT, granted, held};

const MILLISECOND: Duration = Duration::from_millis(1);

#[rstest]
#[tokio::test]
async fn a_free_name_is_granted_with_a_token_and_a_fence(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let lease = backend.start().await.take("job", LONG).await;
    assert!(!lease.token.as_str().is_empty());
    assert!(lease.fence > 0);
}

#[rstest]
#[tokio::test]
async fn tokens_never_repeat(#[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend) {
    let store = backend.start().await;
    let mut tokens = HashSet::new();
    for name in 0..100 {
        let token = store.take(&name.to_string(), LONG).await.token;
        assert!(token.as_str().len() >= 32, "that is less than 128 bits");
        assert!(tokens.insert(token.as_str().to_owned()));
    }
}

#[rstest]
#[tokio::test]
async fn the_stored_value_is_the_token(#[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend) {
    let store = backend.start().await;
    let lease = store.take("job", LONG).await;
    let entry = store.entry("job").await.unwrap();
    assert_eq!((entry.value.as_str(), entry.revision), (lease.token.as_str(), lease.fence));
}

#[rstest]
#[tokio::test]
async fn a_second_caller_is_told_who_holds_and_changes_nothing(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    let lease = store.take("job", LockOptions::from(LONG).owner("me@here")).await;
    let before = store.entry("job").await.unwrap();
    let holder = held(store.locker.lock("job", SHORT).await);
    assert_eq!((holder.owner.as_deref(), holder.fence), (Some("me@here"), lease.fence));
    assert!(holder.ttl.unwrap() <= LONG && holder.ttl.unwrap() > LONG / 2);
    let after = store.entry("job").await.unwrap();
    assert_eq!(after.value, before.value);
    assert!(after.ttl.unwrap() > LONG / 2);
}

#[rstest]
#[tokio::test]
async fn the_token_is_told_to_nobody_else(#[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend) {
    let store = backend.start().await;
    let lease = store.take("job", LockOptions::from(LONG).owner("me")).await;
    let random = &lease.token.as_str()["me:".len()..];
    let holder = held(store.locker.lock("job", LONG).await);
    let inspected = store.locker.inspect("job").await.unwrap().unwrap();
    let told = format!("{holder:?} {inspected:?} {lease:?} {:?}", store.entry("job").await);
    assert!(!told.contains(random), "{told}");
}

#[rstest]
#[tokio::test]
async fn a_lock_is_not_reentrant(#[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend) {
    let store = backend.start().await;
    let options = LockOptions::from(LONG).owner("me");
    store.take("job", options.clone()).await;
    held(store.locker.lock("job", options).await);
}

#[rstest]
#[tokio::test]
async fn different_names_are_different_locks(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    let long = "n".repeat(512);
    let almost = "n".repeat(511);
    let names =
        ["a", "A", "a ", " a", "a:b", "a:", "{a}", "{a}b", "a{", "a}", "{}", "ä", "a\u{308}", "🔒", &long, &almost];
    for name in names {
        store.take(name, LONG).await;
    }
    for name in names {
        held(store.locker.lock(name, LONG).await);
    }
}

#[tokio::test]
async fn bad_arguments_are_refused_before_the_store_is_touched() {
    let locker = Locker::new(Untouchable).unwrap();
    let (long, label) = ("n".repeat(513), "l".repeat(129));
    for name in ["", "a\nb", "\0", "\u{7f}", &long] {
        assert_invalid(locker.lock(name, LONG).await);
        assert_invalid(locker.unlock(name, "token").await);
        assert_invalid(locker.extend(name, "token", LONG).await);
        assert_invalid(locker.inspect(name).await);
    }
    for owner in ["", "a\nb", &label] {
        assert_invalid(locker.lock("job", LockOptions::from(LONG).owner(owner)).await);
    }
    assert_invalid(locker.lock("job", Duration::ZERO).await);
    assert_invalid(locker.extend("job", "token", Duration::ZERO).await);
    assert_invalid(locker.unlock("job", "").await);
}

#[tokio::test]
async fn more_time_than_the_host_allows_is_refused_before_the_store_is_touched() {
    let locker = Locker::new(Untouchable).unwrap();
    let too_long = Duration::from_secs(24 * 60 * 60) + MILLISECOND;
    for ttl in [too_long, Duration::MAX] {
        assert_eq!(locker.lock("job", ttl).await.unwrap_err().kind(), ErrorKind::Denied);
        assert_eq!(locker.extend("job", "token", ttl).await.unwrap_err().kind(), ErrorKind::Denied);
    }
}

#[tokio::test]
async fn an_error_names_the_lock_and_the_cause() {
    let error = Locker::new(Memory::default()).unwrap().lock("job", Duration::ZERO).await.unwrap_err();
    assert_eq!(error.to_string(), r#"lock "job": a time to live must be at least 1 ms"#);
    assert_eq!(error.lock(), Some("job"));
}

#[rstest]
#[tokio::test]
async fn less_than_a_millisecond_counts_as_one(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    // The answer of a server may take longer, and then the lock does not count.
    match backend.start().await.locker.lock("job", Duration::from_nanos(1)).await {
        Ok(lock) => assert!(lock.granted().unwrap().ttl <= MILLISECOND),
        Err(error) => assert_eq!(error.kind(), ErrorKind::Expired),
    }
}

#[rstest]
#[tokio::test]
async fn the_longest_time_that_is_allowed_is_stored_as_it_is(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    let day = Duration::from_secs(24 * 60 * 60);
    store.take("job", day).await;
    let left = store.left("job").await;
    assert!(left <= day && left > day - LONG, "{left:?}");
}

#[tokio::test]
async fn without_a_time_the_default_applies_and_shows_in_the_lease() {
    let seven = Duration::from_secs(7);
    let server = RedisServer::start().await;
    let redis = Redis::open(&server.url()).unwrap().default_ttl(seven);
    for locker in [Locker::new(Memory::new(seven)).unwrap(), Locker::new(redis).unwrap()] {
        let lease = granted(locker.lock("job", LockOptions::default()).await);
        assert!(lease.ttl <= seven && lease.ttl > seven / 2, "{lease:?}");
    }
}

#[rstest]
#[tokio::test]
async fn a_lease_ends_no_later_than_the_store_lets_others_in(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    for name in 0..20 {
        let name = name.to_string();
        let lease = store.take(&name, SHORT).await;
        let left = store.left(&name).await;
        // Redis tells what is left in whole milliseconds.
        assert!(lease.deadline <= Instant::now() + left + MILLISECOND);
        assert!(lease.ttl <= SHORT);
    }
}

#[tokio::test]
async fn a_key_of_another_type_is_invalid_and_not_held() {
    let server = RedisServer::start().await;
    () = server.run(&["RPUSH", "lock:job", "not", "a", "lock"]).await;
    let locker = server.locker();
    assert_invalid(locker.lock("job", LONG).await);
    assert_invalid(locker.unlock("job", "token").await);
    assert_invalid(locker.extend("job", "token", LONG).await);
    assert_invalid(locker.inspect("job").await);
    assert_eq!(server.run::<Vec<String>>(&["LRANGE", "lock:job", "0", "-1"]).await, ["not", "a", "lock"]);
}

#[tokio::test]
async fn a_value_that_a_stranger_stored_for_ever_is_held_for_ever() {
    let server = RedisServer::start().await;
    () = server.run(&["SET", "lock:job", "\u{1}"]).await;
    let holder = held(server.locker().lock("job", LONG).await);
    assert_eq!((holder.owner, holder.fence, holder.ttl), (None, 0, None));
}

#[track_caller]
fn assert_invalid<T: std::fmt::Debug>(outcome: Result<T, locker_host::Error>) {
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Invalid);
}

/// A store that must not be reached.
struct Untouchable;

#[async_trait]
impl Cache for Untouchable {
    async fn try_set(&self, _: &str, _: &str, _: Option<Duration>) -> Result<SetOutcome, CacheError> {
        unreachable!("try_set")
    }
    async fn extend_if_equal(&self, _: &str, _: &str, _: Duration) -> Result<ExtendOutcome, CacheError> {
        unreachable!("extend_if_equal")
    }
    async fn delete_if_equal(&self, _: &str, _: &str) -> Result<DeleteOutcome, CacheError> {
        unreachable!("delete_if_equal")
    }
    async fn get(&self, _: &str) -> Result<Option<Entry>, CacheError> {
        unreachable!("get")
    }
}
