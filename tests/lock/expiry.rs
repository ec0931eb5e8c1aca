//! When a lock ends by itself.

use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rstest::rstest;

use crate::harness::{Backend, Command, LONG, RedisServer, SHORT, expiry, granted, held, until, waiting_options};

#[rstest]
#[tokio::test]
async fn an_unreleased_lock_is_free_after_its_time_and_no_earlier(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    let started = Instant::now();
    store.take("job", SHORT).await;
    held(store.locker.lock("job", LONG).await);
    store.take("job", waiting_options()).await;
    assert!(started.elapsed() >= SHORT, "{:?}", started.elapsed());
}

#[rstest]
#[tokio::test]
async fn what_has_expired_is_seen_by_nobody(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    let lease = store.take("job", SHORT).await;
    expiry().await;
    assert_eq!(store.entry("job").await, None);
    assert_eq!(store.locker.inspect("job").await.unwrap(), None);
    let next = store.take("job", SHORT).await;
    assert_ne!(next.token, lease.token);
}

#[tokio::test]
async fn a_killed_holder_frees_the_name_after_its_time() {
    let server = RedisServer::start().await;
    let started = Instant::now();
    let holder = Command::on(&server, &["exec", "job", "--ttl", "2s", "--", "sleep", "3"]).spawn();
    let locker = server.locker();
    until(async || locker.inspect("job").await.unwrap().is_some()).await;
    kill(Pid::from_raw(holder.id().unwrap().try_into().unwrap()), Signal::SIGKILL).unwrap();
    held(locker.lock("job", LONG).await);
    granted(locker.lock("job", waiting_options()).await);
    assert!(started.elapsed().as_secs() >= 2);
}
