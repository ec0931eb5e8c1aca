//! The queue of a lock on a Redis server, and what its scripts do with waiters that are dead, stopped or cut off.

use std::time::{Duration, Instant};

use locker_host::{ErrorKind, LockOptions, Locker, UnlockOutcome};
use redis::Value;
use rstest::rstest;

use crate::harness::{Fault, HeldLock, LONG, Proxy, RedisServer, SHORT, granted, held, key_of, until, waiting_options};

/// Puts an entry of a client that is not there at the head of the queue.
async fn add_dead_head(server: &RedisServer, reports: bool) {
    let entry = "00\u{1f}60000\u{1f}dead";
    _ = server.run::<u64>(&["ZADD", &key_of("queue", "job"), "1", entry]).await;
    if reports {
        let run_id: String = server.run(&["INFO", "server"]).await;
        let run_id = run_id.split_once("run_id:").unwrap().1.split_once('\r').unwrap().0;
        () = server.run(&["SET", &(key_of("client", "job") + "00"), run_id, "PX", "60000"]).await;
    }
}

#[tokio::test]
async fn hosts_are_served_in_the_order_in_which_they_came() {
    let lock = HeldLock::start().await;
    let mut waiters = Vec::new();
    for _ in 0..5 {
        waiters.push(lock.waiter().await);
    }
    let mut last = lock.lease.clone();
    for waiter in waiters {
        _ = lock.holder.unlock("job", &last.token).await.unwrap();
        let lease = granted(waiter.await.unwrap());
        assert!(lease.fence > last.fence, "{} after {}", lease.fence, last.fence);
        last = lease;
    }
}

#[rstest]
#[case::released(&["EVAL", "return 0", "0"])]
#[case::expired(&["PEXPIRE", "lock:job", "1"])]
#[case::deleted(&["DEL", "lock:job"])]
#[tokio::test]
async fn the_head_of_the_queue_is_next_whatever_freed_the_lock(#[case] command: &[&str]) {
    let lock = HeldLock::start().await;
    let (first, second) = (lock.waiter().await, lock.waiter().await);
    let _: Value = lock.server.run(command).await;
    if command[0] == "EVAL" {
        lock.release().await;
    }
    granted(first.await.unwrap());
    assert!(!second.is_finished());
}

#[tokio::test]
async fn no_caller_slips_in_between_a_release_and_the_head_of_the_queue() {
    let lock = HeldLock::start().await;
    let waiter = lock.waiter().await;
    lock.release().await;
    held(lock.holder.lock("job", LONG).await);
    granted(waiter.await.unwrap());
}

#[tokio::test]
async fn a_caller_that_finds_the_lock_free_hands_it_to_the_head_of_the_queue() {
    let lock = HeldLock::start().await;
    let waiter = lock.waiter().await;
    let [[_, _, token]] = &lock.server.entries("job").await[..] else { panic!("one caller is queued") };
    let attempt = Locker::new(lock.server.redis()).unwrap();
    _ = lock.server.run::<u64>(&["DEL", "lock:job"]).await;
    let holder = held(attempt.lock("job", LONG).await);
    let lease = granted(waiter.await.unwrap());
    assert_eq!((lease.token.as_str(), lease.fence), (&token[..], holder.fence));
}

#[tokio::test]
async fn a_lease_that_was_handed_over_is_counted_from_then() {
    let lock = HeldLock::start().await;
    let waiter = lock.waiter().await;
    let released = Instant::now();
    lock.release().await;
    let lease = granted(waiter.await.unwrap());
    let left: u64 = lock.server.run(&["PTTL", "lock:job"]).await;
    assert!(lease.deadline <= Instant::now() + Duration::from_millis(left + 1), "the server keeps it for {left} ms");
    // What passed before that is not subtracted, but for what a request may take.
    assert!(lease.deadline + LONG / 4 > released + LONG, "{:?}", lease.ttl);
}

#[rstest]
#[tokio::test]
async fn a_dead_waiter_costs_the_next_one_nothing(#[values(true, false)] reports: bool) {
    let lock = HeldLock::start().await;
    add_dead_head(&lock.server, reports).await;
    let waiter = lock.waiter().await;
    lock.release().await;
    // Not by the waiter's next look, but by the release itself.
    assert_ne!(lock.server.stored("job").await.unwrap().0, "dead");
    granted(waiter.await.unwrap());
}

#[tokio::test]
async fn a_free_lock_whose_waiters_are_all_dead_is_granted_at_once() {
    let lock = HeldLock::start().await;
    add_dead_head(&lock.server, true).await;
    lock.release().await;
    granted(lock.holder.lock("job", LONG).await);
    assert_eq!(lock.server.queued("job").await, 0);
}

#[tokio::test]
async fn a_waiter_that_does_not_report_is_handed_nothing_and_keeps_waiting() {
    let lock = HeldLock::start().await;
    let (stopped, next) = (lock.waiter().await, lock.waiter().await);
    let [[client, ..], _] = &lock.server.entries("job").await[..] else { panic!("two callers are queued") };
    _ = lock.server.run::<u64>(&["DEL", &(key_of("client", "job") + client)]).await;
    lock.release().await;
    let lease = granted(next.await.unwrap());
    _ = lock.holder.unlock("job", lease.token).await.unwrap();
    granted(stopped.await.unwrap());
}

#[rstest]
#[case::once(None)]
#[case::also_if_the_clock_was_set_back_meanwhile(Some("2000000000000000"))]
#[tokio::test]
async fn the_head_has_a_grace_to_subscribe_again_after_a_failover(#[case] ends: Option<&str>) {
    let lock = HeldLock::start().await;
    add_dead_head(&lock.server, false).await;
    () = lock.server.run(&["SET", &(key_of("client", "job") + "00"), "another", "PX", "60000"]).await;
    if let Some(ends) = ends {
        () = lock.server.run(&["SET", &key_of("grace", "job"), ends, "PX", "60000"]).await;
    }
    let waiter = lock.waiter().await;
    lock.release().await;
    assert_eq!(held(lock.holder.lock("job", LONG).await).fence, 0);
    // It costs the next one a second, once.
    granted(waiter.await.unwrap());
}

#[tokio::test]
async fn a_report_that_comes_before_its_subscription_leaves_the_grace() {
    let lock = HeldLock::start().await;
    let (entry, [client, channel]) =
        ("00\u{1f}60000\u{1f}value", ["client", "wake"].map(|key| key_of(key, "job") + "00"));
    () = lock.server.run(&["SET", &client, "another", "PX", "60000"]).await;
    let [fence, queue, grace, mark] = ["fence", "queue", "grace", "withdrawn"].map(|key| key_of(key, "job"));
    let (_, enqueue) = locker_host::simulation::scripts().into_iter().find(|(name, _)| *name == "enqueue").unwrap();
    let keys = ["EVAL", enqueue, "6", "lock:job", &fence, &queue, &grace, &mark, &client];
    let args = ["4000000000000000", "0", "value", "60000", entry, "0", "10000", "6000", &channel];
    _ = lock.server.run::<redis::Value>(&[&keys[..], &args].concat()).await;
    assert_eq!(
        (lock.server.queued("job").await, lock.server.run::<String>(&["GET", &client]).await),
        (1, "another".into())
    );
}

#[tokio::test]
async fn a_message_that_was_lost_costs_a_few_seconds() {
    let lock = HeldLock::start().await;
    let waiter = lock.waiter().await;
    // What the release does, without the message.
    let [[client, ttl, token]] = &lock.server.entries("job").await[..] else { panic!("one caller is queued") };
    let entry = [&client[..], ttl, token].join("\u{1f}");
    _ = lock.server.run::<u64>(&["ZREM", &key_of("queue", "job"), &entry]).await;
    () = lock.server.run(&["SET", "lock:job", &format!("{token}\u{1f}7"), "PX", "60000"]).await;
    let lease = granted(waiter.await.unwrap());
    assert_eq!((lease.token.as_str(), lease.fence), (&token[..], 7));
}

#[tokio::test]
async fn a_queue_that_the_server_lost_is_there_again_in_its_order() {
    let lock = HeldLock::start().await;
    let (first, second) = (lock.waiter().await, lock.waiter().await);
    let before = lock.server.entries("job").await;
    _ = lock.server.run::<u64>(&["DEL", &key_of("queue", "job")]).await;
    until(async || lock.server.queued("job").await == 2).await;
    assert_eq!(lock.server.entries("job").await, before);
    lock.release().await;
    granted(first.await.unwrap());
    assert!(!second.is_finished());
}

#[tokio::test]
async fn a_lock_that_was_handed_to_a_caller_that_went_away_is_handed_on() {
    let lock = HeldLock::start().await;
    let (first, second) = (lock.waiter().await, lock.waiter().await);
    lock.release().await;
    first.abort();
    if let Ok(outcome) = first.await {
        // It was served before it could go away.
        _ = lock.holder.unlock("job", granted(outcome).token).await.unwrap();
    }
    granted(second.await.unwrap());
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_the_queue_though_the_connection_breaks() {
    let lock = HeldLock::start().await;
    let proxy = Proxy::start(&lock.server).await;
    let waiter = lock.server.waiter(Locker::new(proxy.redis()).unwrap(), waiting_options()).await;
    proxy.next(Fault::LoseRequest("withdrawn{"));
    waiter.abort();
    until(async || lock.server.queued("job").await == 0).await;
    assert!(proxy.has_failed());
}

#[tokio::test]
async fn a_host_that_is_closed_has_left_the_queue() {
    let lock = HeldLock::start().await;
    let locker = lock.server.locker();
    let waiter = lock.server.waiter(locker.clone(), waiting_options()).await;
    locker.close().await;
    assert_eq!(lock.server.queued("job").await, 0);
    assert_eq!(waiter.await.unwrap().unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_caller_whose_wait_is_over_leaves_nothing_behind() {
    let lock = HeldLock::start().await;
    let before = lock.server.keys().await;
    held(lock.server.locker().lock("job", LockOptions::from(LONG).wait(SHORT)).await);
    assert_eq!(lock.server.queued("job").await, 0);
    // The report of its client expires.
    until(async || lock.server.keys().await == before).await;
}

#[tokio::test]
async fn a_server_without_memory_hands_over_all_the_same() {
    let lock = HeldLock::start().await;
    let waiter = lock.waiter().await;
    () = lock.server.run(&["CONFIG", "SET", "maxmemory", "1"]).await;
    lock.release().await;
    let lease = granted(waiter.await.unwrap());
    assert_eq!(lock.holder.unlock("job", lease.token).await.unwrap(), UnlockOutcome::Released);
}

#[tokio::test]
async fn a_queue_is_kept_though_the_connections_break() {
    let lock = HeldLock::start().await;
    let (first, _second) = (lock.waiter().await, lock.waiter().await);
    let cut: u64 = lock.server.run(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    assert_eq!(cut, 2);
    until(async || lock.server.channels().await.len() == 2).await;
    lock.release().await;
    granted(first.await.unwrap());
}

#[tokio::test]
async fn names_that_were_locked_leave_one_counter_for_each_slot_at_most() {
    const NAMES: usize = 20_000;
    let server = RedisServer::start().await;
    let locker = server.locker();
    for batch in 0..NAMES / 500 {
        let batch = (0..500).map(|number| {
            let (locker, name) = (locker.clone(), format!("order {}", 500 * batch + number));
            async move {
                let lease = granted(locker.lock(&name, LONG).await);
                locker.unlock(&name, lease.token).await.unwrap()
            }
        });
        batch.collect::<tokio::task::JoinSet<_>>().join_all().await;
    }
    let keys = server.keys().await;
    assert!(keys.len() < 16384 && keys.iter().all(|key| key.starts_with("lock:\u{1f}fence{")), "{}", keys.len());
}
