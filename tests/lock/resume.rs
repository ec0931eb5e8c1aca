//! Callers that choose their token, and call again.

use locker_host::{ErrorKind, LockOptions, Locker, Token};
use nix::sys::signal::{Signal, kill};
use rstest::rstest;

use crate::harness::{Backend, LONG, RedisServer, SHORT, granted, held};

const RANDOM: &str = "5f3a9c1e7b2d4806f1e2d3c4b5a69788";

fn chosen(token: &str) -> LockOptions {
    LockOptions::from(LONG).token(Token::from(token.to_owned()))
}

#[rstest]
#[tokio::test]
async fn the_token_that_holds_the_lock_gets_the_same_lease(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    let lease = store.take("job", chosen(RANDOM).owner("me")).await;
    let longer = chosen(&format!("me:{RANDOM}")).ttl(10 * LONG);
    let again = granted(store.another_host().lock("job", longer).await);
    assert_eq!((&again.token, again.fence), (&lease.token, lease.fence));
    assert!(again.ttl <= LONG, "it ends when it did");
}

#[rstest]
#[tokio::test]
async fn a_free_lock_is_granted_with_a_new_fence_and_a_held_one_is_not(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    let lease = store.take("job", chosen(RANDOM)).await;
    store.locker.unlock("job", &lease.token).await.unwrap();
    assert!(store.take("job", chosen(RANDOM)).await.fence > lease.fence);
    store.locker.unlock("job", &lease.token).await.unwrap();
    let other = store.take("job", LONG).await;
    assert_eq!(held(store.locker.lock("job", chosen(RANDOM)).await).fence, other.fence);
}

#[tokio::test]
async fn a_token_that_could_be_guessed_is_refused() {
    let store = Backend::Memory.start().await;
    let bad = ["", "secret", &RANDOM[1..], &RANDOM.to_uppercase(), &"0".repeat(32), &"0123456789abcdef".repeat(2)];
    for token in bad {
        let error = store.locker.lock("job", chosen(token)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(token.len() < 6 || !error.to_string().contains(token), "{error}");
    }
    let labelled = chosen(&format!("me:{RANDOM}")).owner("you");
    assert_eq!(store.locker.lock("job", labelled).await.unwrap_err().kind(), ErrorKind::Invalid);
    assert!(store.locker.inspect("job").await.unwrap().is_none());
}

#[tokio::test]
async fn a_call_that_failed_leaves_the_lease_to_the_next_one() {
    let server = RedisServer::start().await;
    let lease = granted(server.locker().lock("job", chosen(RANDOM)).await);
    let caller = Locker::new(server.redis().timeout(SHORT)).unwrap();
    assert!(caller.inspect("job").await.unwrap().is_some());
    kill(server.pid(), Signal::SIGSTOP).unwrap();
    assert_eq!(caller.lock("job", chosen(RANDOM)).await.unwrap_err().kind(), ErrorKind::Unavailable);
    kill(server.pid(), Signal::SIGCONT).unwrap();
    caller.close().await;
    assert_eq!(granted(server.locker().lock("job", chosen(RANDOM)).await).fence, lease.fence);
}
