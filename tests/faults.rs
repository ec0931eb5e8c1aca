//! Requests and answers that get lost, and callers that go away.

use std::time::{Duration, Instant};

use locker_host::{ErrorKind, Limits, Locker, Unlock};
use nix::sys::signal::{Signal, kill};
use rstest::rstest;

use crate::harness::{Fault, LONG, Proxy, RedisServer, SHORT, extended, granted, held, patiently, until};

/// A server, a proxy in front of it, and lockers that go through the proxy and straight to the server.
struct World {
    server: RedisServer,
    proxy: Proxy,
    locker: Locker,
    straight: Locker,
}

impl World {
    async fn start() -> Self {
        let server = RedisServer::start().await;
        let proxy = Proxy::start(&server).await;
        let locker = Locker::new(proxy.redis()).unwrap();
        // The scripts are known to the server from here on, so that what is lost is the step itself.
        let lease = granted(locker.lock("warm", LONG).await);
        extended(locker.extend("warm", &lease.token, LONG).await);
        locker.unlock("warm", &lease.token).await.unwrap();
        Self { straight: server.locker(), server, proxy, locker }
    }

    async fn is_free(&self, name: &str) -> bool {
        self.straight.inspect(name).await.unwrap().is_none()
    }
}

#[rstest]
#[case::request(Fault::LoseRequest("lock:job"))]
#[case::answer(Fault::LoseAnswer("lock:job"))]
#[tokio::test]
async fn a_lock_whose_request_or_answer_was_lost_is_granted_once(#[case] fault: Fault) {
    let world = World::start().await;
    world.proxy.next(fault);
    let lease = granted(world.locker.lock("job", LONG).await);
    assert!(world.proxy.has_failed());
    assert_eq!(world.server.stored("job").await, Some((lease.token.as_str().to_owned(), lease.fence)));
    let holder = held(world.straight.lock("job", LONG).await);
    assert_eq!(holder.fence, lease.fence);
}

#[tokio::test]
async fn a_lease_is_counted_from_before_the_request_was_sent() {
    let world = World::start().await;
    world.proxy.next(Fault::Delay("lock:job", SHORT));
    let asked = Instant::now();
    let lease = granted(world.locker.lock("job", LONG).await);
    assert!(lease.ttl <= LONG - SHORT, "{:?}", lease.ttl);
    // Not from when the answer came, and what the answer took is not subtracted twice.
    assert!((asked + LONG..asked + LONG + SHORT / 2).contains(&lease.deadline));
}

#[tokio::test]
async fn a_lock_whose_answer_was_lost_for_good_is_given_back() {
    let world = World::start().await;
    let limits = Limits { deadline: SHORT, ..Limits::default() };
    let locker = Locker::with_limits(world.proxy.redis(), limits).unwrap();
    locker.inspect("job").await.unwrap();
    world.proxy.next(Fault::LoseAnswer("lock:job"));
    world.proxy.shut();
    assert_eq!(locker.lock("job", LONG).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(!world.is_free("job").await, "nobody knows, but it was granted");
    world.proxy.reopen();
    until(async || world.is_free("job").await).await;
}

#[tokio::test]
async fn a_lock_that_was_cancelled_before_its_answer_came_is_given_back() {
    let world = World::start().await;
    world.proxy.next(Fault::Stall("lock:job"));
    let locker = world.locker.clone();
    let caller = tokio::spawn(async move { locker.lock("job", LONG).await });
    until(async || !world.is_free("job").await).await;
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    // The connection still stalls; only another one can carry the request.
    let timely = Locker::new(world.proxy.redis().timeout(SHORT)).unwrap();
    world.proxy.next(Fault::Stall("lock:other"));
    assert_eq!(timely.lock("other", LONG).await.unwrap_err().kind(), ErrorKind::Unavailable);
    until(async || world.is_free("other").await).await;
    until(async || world.is_free("job").await).await;
}

#[tokio::test]
async fn a_release_whose_answer_was_lost_never_says_that_another_holds() {
    let world = World::start().await;
    let lease = granted(world.locker.lock("job", LONG).await);
    world.proxy.next(Fault::LoseAnswer("lock:job"));
    world.proxy.shut();
    let (locker, token) = (world.locker.clone(), lease.token);
    let release = tokio::spawn(async move { locker.unlock("job", &token).await });
    until(async || world.is_free("job").await).await;
    let next = granted(world.straight.lock("job", LONG).await);
    world.proxy.reopen();
    assert_eq!(release.await.unwrap().unwrap(), Unlock::Absent);
    assert_eq!(world.straight.inspect("job").await.unwrap().unwrap().fence, next.fence, "it was left alone");
}

#[rstest]
#[case::request(Fault::LoseRequest("lock:job"))]
#[case::answer(Fault::LoseAnswer("lock:job"))]
#[tokio::test]
async fn a_release_is_asked_for_again(#[case] fault: Fault) {
    let world = World::start().await;
    let lease = granted(world.locker.lock("job", LONG).await);
    world.proxy.next(fault);
    let outcome = world.locker.unlock("job", &lease.token).await.unwrap();
    assert_ne!(outcome, Unlock::HeldByOther);
    assert!(world.is_free("job").await);
}

#[rstest]
#[case::request(Fault::LoseRequest("lock:job"))]
#[case::answer(Fault::LoseAnswer("lock:job"))]
#[tokio::test]
async fn an_extension_is_asked_for_again(#[case] fault: Fault) {
    let world = World::start().await;
    let lease = granted(world.locker.lock("job", LONG).await);
    world.proxy.next(fault);
    assert_eq!(extended(world.locker.extend("job", &lease.token, 2 * LONG).await).fence, lease.fence);
    assert!(world.straight.inspect("job").await.unwrap().unwrap().ttl.unwrap() > LONG);
}

#[tokio::test]
async fn a_waiter_whose_subscription_is_lost_subscribes_again() {
    let world = World::start().await;
    let lease = granted(world.straight.lock("job", LONG).await);
    world.proxy.next(Fault::LoseAnswer("SUBSCRIBE"));
    let locker = world.locker.clone();
    let waiter = tokio::spawn(async move { locker.lock("job", patiently()).await });
    until(async || world.proxy.has_failed()).await;
    until(async || !world.server.channels().await.is_empty()).await;
    world.straight.unlock("job", &lease.token).await.unwrap();
    granted(waiter.await.unwrap());
}

#[tokio::test]
async fn a_server_that_hangs_costs_one_deadline() {
    let server = RedisServer::start().await;
    let limits = Limits { deadline: SHORT, ..Limits::default() };
    let locker = Locker::with_limits(locker_host::Redis::open(&server.url()).unwrap(), limits).unwrap();
    locker.inspect("job").await.unwrap();
    kill(server.pid(), Signal::SIGSTOP).unwrap();
    let started = Instant::now();
    let error = locker.inspect("job").await.unwrap_err();
    let took = started.elapsed();
    kill(server.pid(), Signal::SIGCONT).unwrap();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(took >= SHORT && took < Duration::from_secs(5), "{took:?}");
    until(async || locker.inspect("job").await.is_ok()).await;
}
