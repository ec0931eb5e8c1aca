//! Requests and answers that get lost, and callers that go away.

use std::time::{Duration, Instant};

use locker_host::{ErrorKind, Limits, Locker, UnlockOutcome};
use nix::sys::signal::{Signal, kill};
use rstest::rstest;

use crate::harness::{Fault, LONG, Proxy, RedisServer, SHORT, extended, granted, held, until, waiting_options};

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
    let long = 5 * SHORT;
    world.proxy.next(Fault::Delay("lock:job", long));
    let asked = Instant::now();
    let lease = granted(world.locker.lock("job", LONG).await);
    assert!(lease.ttl <= LONG - long, "{:?}", lease.ttl);
    // Not from when the answer came, and what the answer took is not subtracted twice.
    assert!((asked + LONG..asked + LONG + long).contains(&lease.deadline));
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
    assert!(!world.is_free("job").await, "it was granted, though its caller does not know");
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
    assert_eq!(release.await.unwrap().unwrap(), UnlockOutcome::Absent);
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
    assert_ne!(outcome, UnlockOutcome::HeldByOther);
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
async fn a_copy_of_a_request_that_comes_after_the_release_stores_nothing() {
    let world = World::start().await;
    world.proxy.next(Fault::Late("lock:job", SHORT));
    let lease = granted(world.locker.lock("job", LONG).await);
    world.locker.unlock("job", &lease.token).await.unwrap();
    until(async || world.proxy.handled_late() == 1).await;
    assert!(world.is_free("job").await, "no caller would release it");
}

#[tokio::test]
async fn a_copy_of_a_request_that_was_answered_held_stores_nothing_later() {
    let world = World::start().await;
    let lease = granted(world.straight.lock("job", LONG).await);
    world.proxy.next(Fault::Late("lock:job", SHORT));
    held(world.locker.lock("job", LONG).await);
    world.straight.unlock("job", &lease.token).await.unwrap();
    until(async || world.proxy.handled_late() == 1).await;
    assert!(world.is_free("job").await);
}

#[rstest]
#[case::that_takes_the_lock("lock:job", false)]
#[case::that_enters_the_queue("wake{", true)]
#[tokio::test]
async fn a_request_of_a_caller_that_went_away_takes_no_effect_later(#[case] word: &'static str, #[case] is_held: bool) {
    let world = World::start().await;
    let lease = if is_held { Some(granted(world.straight.lock("job", LONG).await)) } else { None };
    world.proxy.next(Fault::Late(word, 3 * SHORT));
    // So that the request is not repeated over a new connection.
    world.proxy.shut();
    let locker = world.locker.clone();
    let caller = tokio::spawn(async move { locker.lock("job", waiting_options()).await });
    until(async || world.proxy.has_failed()).await;
    caller.abort();
    world.proxy.reopen();
    until(async || world.proxy.handled_late() == 1).await;
    assert_eq!(world.server.queued("job").await, 0);
    if let Some(lease) = lease {
        world.straight.unlock("job", &lease.token).await.unwrap();
    }
    until(async || world.is_free("job").await).await;
}

#[rstest]
#[case::a_lock("lock:job", true)]
#[case::an_extension("lock:job", false)]
#[tokio::test]
async fn a_request_that_was_reported_as_failed_takes_no_effect_later(#[case] word: &'static str, #[case] locks: bool) {
    let world = World::start().await;
    let hasty = Locker::new(world.proxy.redis().timeout(SHORT)).unwrap();
    hasty.inspect("job").await.unwrap();
    let lease = if locks { None } else { Some(granted(world.straight.lock("job", LONG).await)) };
    world.proxy.next(Fault::Delay(word, 3 * SHORT));
    let error = match &lease {
        None => hasty.lock("job", LONG).await.map(|_| ()),
        Some(lease) => hasty.extend("job", &lease.token, 2 * LONG).await.map(|_| ()),
    };
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Unavailable);
    until(async || world.proxy.handled_late() == 1).await;
    let holder = world.straight.inspect("job").await.unwrap();
    assert!(holder.is_none_or(|holder| !locks && holder.ttl <= Some(LONG)));
}

#[tokio::test]
async fn a_late_copy_of_a_cancelled_extension_shortens_no_lease_that_is_counted_on() {
    let world = World::start().await;
    let lease = granted(world.locker.lock("job", LONG).await);
    world.proxy.next(Fault::Late("lock:job", SHORT));
    world.proxy.shut();
    let (locker, token) = (world.locker.clone(), lease.token.clone());
    let shorter = tokio::spawn(async move { locker.extend("job", token, LONG / 10).await });
    until(async || world.proxy.has_failed()).await;
    shorter.abort();
    assert!(shorter.await.unwrap_err().is_cancelled());
    world.proxy.reopen();
    let lease = extended(world.locker.extend("job", &lease.token, LONG).await);
    until(async || world.proxy.handled_late() == 1).await;
    let left = world.straight.inspect("job").await.unwrap().unwrap().ttl.unwrap();
    assert!(lease.deadline <= Instant::now() + left + Duration::from_millis(1), "the server keeps it for {left:?}");
}

#[tokio::test]
async fn a_waiter_is_told_though_another_call_gave_its_connection_up() {
    let world = World::start().await;
    let redis = world.proxy.redis().timeout(SHORT);
    let locker = Locker::new(redis).unwrap();
    let lease = granted(world.straight.lock("job", LONG).await);
    let waiter = world.server.waiter(locker.clone(), waiting_options()).await;
    let before: u64 = world.server.run(&["CLIENT", "ID"]).await;
    world.proxy.next(Fault::Stall("lock:other"));
    locker.inspect("other").await.unwrap_err();
    // It subscribes over a new connection, although nothing told it to look.
    until(async || subscribers_since(&world.server, before).await == 1).await;
    world.straight.unlock("job", &lease.token).await.unwrap();
    granted(waiter.await.unwrap());
}

/// How many clients are subscribed that have connected since.
async fn subscribers_since(server: &RedisServer, client: u64) -> usize {
    let clients: String = server.run(&["CLIENT", "LIST"]).await;
    let field =
        |line: &str, name: &str| line.split(' ').find_map(|field| field.strip_prefix(name)?.parse::<u64>().ok());
    clients.lines().filter(|line| field(line, "id=") > Some(client) && field(line, "sub=") > Some(0)).count()
}

#[tokio::test]
async fn a_waiter_whose_subscription_is_lost_subscribes_again() {
    let world = World::start().await;
    let lease = granted(world.straight.lock("job", LONG).await);
    world.proxy.next(Fault::LoseAnswer("SUBSCRIBE"));
    let locker = world.locker.clone();
    let waiter = tokio::spawn(async move { locker.lock("job", waiting_options()).await });
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
