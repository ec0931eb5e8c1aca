//! Waiting in line on a server, and being handed the lock.

use std::time::{Duration, Instant};

use locker_host::{ErrorKind, Lease, LockOptions, Locker, Unlock};

use crate::harness::{Fault, LONG, Proxy, RedisServer, SHORT, Waiter, a_moment, granted, held, patiently, until};

/// A server, on which somebody holds the lock, and the key of the line for it.
struct World {
    server: RedisServer,
    holder: Locker,
    lease: Lease,
}

const LINE: &str = "lock:\u{1f}line{lock:job}";

impl World {
    async fn start() -> Self {
        let server = RedisServer::start().await;
        let holder = server.locker();
        let lease = granted(holder.lock("job", LONG).await);
        Self { server, holder, lease }
    }

    /// Another host, that is in line.
    async fn waiter(&self) -> Waiter {
        self.server.waiter(self.server.locker(), patiently()).await
    }

    /// Who is first in line: on what it listens, and its token.
    async fn first(&self) -> (String, String) {
        let place: String = self.server.run(&["LINDEX", LINE, "0"]).await;
        let words: Vec<_> = place.split(' ').collect();
        (words[3].to_owned(), words[4].to_owned())
    }

    async fn release(&self) {
        assert_eq!(self.holder.unlock("job", &self.lease.token).await.unwrap(), Unlock::Released);
    }
}

#[tokio::test]
async fn hosts_are_served_in_the_order_in_which_they_came() {
    let world = World::start().await;
    let mut line = Vec::new();
    for _ in 0..5 {
        line.push(world.waiter().await);
    }
    let mut last = world.lease.clone();
    for waiter in line {
        _ = world.holder.unlock("job", &last.token).await.unwrap();
        let lease = granted(waiter.await.unwrap());
        assert!(lease.fence > last.fence, "{} after {}", lease.fence, last.fence);
        last = lease;
    }
}

#[tokio::test]
async fn nobody_slips_in_between_a_release_and_the_next_in_line() {
    let world = World::start().await;
    let waiter = world.waiter().await;
    world.release().await;
    held(world.holder.lock("job", LONG).await);
    granted(waiter.await.unwrap());
}

#[tokio::test]
async fn a_lease_that_was_handed_over_is_counted_from_then() {
    let world = World::start().await;
    let waiter = world.waiter().await;
    tokio::time::sleep(SHORT).await;
    let released = Instant::now();
    world.release().await;
    let lease = granted(waiter.await.unwrap());
    let left: u64 = world.server.run(&["PTTL", "lock:job"]).await;
    assert!(lease.deadline <= Instant::now() + Duration::from_millis(left + 1), "the server keeps it for {left} ms");
    // What passed before that is not subtracted, but for what a request may take.
    assert!(lease.deadline + SHORT / 2 > released + LONG, "{:?}", lease.ttl);
}

#[tokio::test]
async fn a_place_whose_owner_is_gone_is_skipped() {
    let world = World::start().await;
    let place = format!("{} 600000 600000 00 token", u64::MAX);
    _ = world.server.run::<u64>(&["RPUSH", LINE, &place]).await;
    let waiter = world.waiter().await;
    world.release().await;
    granted(waiter.await.unwrap());
}

#[tokio::test]
async fn whoever_has_not_come_again_for_long_is_handed_nothing() {
    let world = World::start().await;
    let waiter = world.waiter().await;
    let (listener, _) = world.first().await;
    _ = world.server.run::<u64>(&["LPUSH", LINE, &format!("1 600000 600000 {listener} token")]).await;
    world.release().await;
    granted(waiter.await.unwrap());
}

#[tokio::test]
async fn whoever_has_not_come_again_for_long_may_look() {
    let world = World::start().await;
    let waiter = world.waiter().await;
    let place: String = world.server.run(&["LPOP", LINE]).await;
    let (_, rest) = place.split_once(' ').unwrap();
    _ = world.server.run::<u64>(&["RPUSH", LINE, &format!("1 {rest}")]).await;
    world.release().await;
    granted(waiter.await.unwrap());
}

#[tokio::test]
async fn whoever_is_woken_in_vain_keeps_the_place() {
    let world = World::start().await;
    let for_a_second = LockOptions::from(LONG).wait(Duration::from_secs(1));
    let first = world.server.waiter(world.server.locker(), for_a_second.clone()).await;
    let _second = world.server.waiter(world.server.locker(), for_a_second).await;
    let (listener, token) = world.first().await;
    _ = world.server.run::<u64>(&["PUBLISH", &format!("{LINE}{listener}"), ""]).await;
    a_moment().await;
    assert_eq!(world.server.places("job").await, 2);
    world.release().await;
    assert_eq!(granted(first.await.unwrap()).token.as_str(), token);
}

#[tokio::test]
async fn a_message_that_got_lost_costs_a_few_seconds() {
    let world = World::start().await;
    let waiter = world.waiter().await;
    // What the release does, without the message.
    let (_, token) = world.first().await;
    _ = world.server.run::<String>(&["LPOP", LINE]).await;
    () = world.server.run(&["SET", "lock:job", &token, "PX", "60000"]).await;
    let lease = granted(waiter.await.unwrap());
    assert_eq!(lease.token.as_str(), token);
}

#[tokio::test]
async fn what_was_handed_to_one_who_gave_up_is_handed_on() {
    let world = World::start().await;
    let (first, second) = (world.waiter().await, world.waiter().await);
    world.release().await;
    first.abort();
    if let Ok(outcome) = first.await {
        // It was served before it could give up.
        _ = world.holder.unlock("job", granted(outcome).token).await.unwrap();
    }
    granted(second.await.unwrap());
}

#[tokio::test]
async fn whoever_gives_up_leaves_the_line_though_the_connection_breaks() {
    let world = World::start().await;
    let proxy = Proxy::start(&world.server).await;
    let waiter = world.server.waiter(Locker::new(proxy.redis()).unwrap(), patiently()).await;
    proxy.next(Fault::LoseRequest("line{lock:job}"));
    waiter.abort();
    until(async || world.server.places("job").await == 0).await;
    assert!(proxy.has_failed());
}

#[tokio::test]
async fn a_host_that_is_closed_has_left_the_line() {
    let world = World::start().await;
    let locker = world.server.locker();
    let waiter = world.server.waiter(locker.clone(), patiently()).await;
    locker.close().await;
    assert_eq!(world.server.places("job").await, 0);
    assert_eq!(waiter.await.unwrap().unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn whoever_gives_up_in_time_leaves_the_line() {
    let world = World::start().await;
    held(world.server.locker().lock("job", LockOptions::from(LONG).wait(SHORT)).await);
    assert_eq!(world.server.places("job").await, 0);
}

#[tokio::test]
async fn a_server_without_memory_hands_over_all_the_same() {
    let world = World::start().await;
    let waiter = world.waiter().await;
    () = world.server.run(&["CONFIG", "SET", "maxmemory", "1"]).await;
    world.release().await;
    let lease = granted(waiter.await.unwrap());
    assert_eq!(world.holder.unlock("job", lease.token).await.unwrap(), Unlock::Released);
}

#[tokio::test]
async fn a_line_is_kept_though_the_connection_breaks() {
    let world = World::start().await;
    let (first, _second) = (world.waiter().await, world.waiter().await);
    let cut: u64 = world.server.run(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    assert_eq!(cut, 2);
    until(async || world.server.channels().await.len() == 2).await;
    a_moment().await;
    world.release().await;
    granted(first.await.unwrap());
}
