//! What is written to Redis, and where.

use std::time::Duration;

use locker_host::{Locker, LostReason, Redis};

use crate::harness::{LONG, RedisServer, granted, held, key_of, until, waiting_options};

#[tokio::test]
async fn a_locks_key_is_the_prefix_and_its_name() {
    let server = RedisServer::start().await;
    let lease = granted(server.locker().lock("nightly report", LONG).await);
    let value: String = server.run(&["GET", "lock:nightly report"]).await;
    assert_eq!(value, format!("{}\u{1f}{}", lease.token.as_str(), lease.fence));
}

#[tokio::test]
async fn nothing_is_written_outside_the_prefix() {
    let server = RedisServer::start().await;
    let locker = Locker::new(Redis::open(&server.url()).unwrap().prefix("app:").unwrap()).unwrap();
    for name in ["job", "{tag}", "{", "}", "{}{x}", "a}b{c}d", "lock:"] {
        granted(locker.lock(name, LONG).await);
    }
    let keys = server.keys().await;
    assert_eq!(keys.len(), 14, "one key each, and one counter for each slot: {keys:?}");
    assert!(keys.iter().all(|key| key.starts_with("app:")), "{keys:?}");
}

#[tokio::test]
async fn every_key_expires_but_the_fence_counters() {
    let server = RedisServer::start().await;
    let locker = server.locker();
    granted(locker.lock("job", LONG).await);
    let waiter = server.waiter(locker, waiting_options()).await;
    waiter.abort();
    for key in server.keys().await {
        let left = server.run::<i64>(&["TTL", &key]).await;
        // What is gone by now has expired, or was removed.
        assert!(left > 0 || left == -2 || key == key_of("fence", "job"), "{key:?}: {left}");
    }
}

#[tokio::test]
async fn locks_of_one_slot_share_a_fence_counter() {
    let server = RedisServer::start().await;
    let locker = server.locker();
    let mut last = 0;
    for name in ["{slot}a", "{slot}b", "{slot}c"] {
        let lease = granted(locker.lock(name, LONG).await);
        assert!(lease.fence > last);
        last = lease.fence;
        locker.unlock(name, &lease.token).await.unwrap();
    }
    assert_eq!(server.keys().await, [key_of("fence", "{slot}a")]);
}

#[tokio::test]
async fn different_prefixes_are_different_locks() {
    let server = RedisServer::start().await;
    let with = |prefix| Locker::new(Redis::open(&server.url()).unwrap().prefix(prefix).unwrap()).unwrap();
    granted(with("a:").lock("job", LONG).await);
    granted(with("b:").lock("job", LONG).await);
    held(with("a:").lock("job", LONG).await);
}

#[tokio::test]
async fn a_fence_is_where_the_server_looks_for_the_slot_of_its_lock() {
    let server = RedisServer::start().await;
    let locker = server.locker();
    for name in ["job", "{tag}", "{", "}", "{}{x}", "a}b{c}d", "日本"] {
        () = server.run(&["FLUSHALL"]).await;
        granted(locker.lock(name, LONG).await);
        let keys = server.keys().await;
        let mut slots = Vec::new();
        for key in &keys {
            slots.push(server.run::<u16>(&["EVAL", SLOT, "0", key]).await);
        }
        assert_eq!((slots.len(), slots[0]), (2, slots[1]), "{keys:?}");
    }
}

/// The slot of a key, computed as the cluster specification has it: servers outside a cluster do not tell.
const SLOT: &str = "
local key, crc = ARGV[1], 0
local from = string.find(key, '{', 1, true)
local to = from and string.find(key, '}', from + 1, true)
if to and to > from + 1 then key = string.sub(key, from + 1, to - 1) end
for i = 1, #key do
  crc = bit.bxor(crc, bit.lshift(string.byte(key, i), 8))
  for _ = 1, 8 do
    crc = bit.lshift(crc, 1)
    if bit.band(crc, 0x10000) ~= 0 then crc = bit.bxor(crc, 0x11021) end
  end
end
return crc % 16384";

#[tokio::test]
async fn a_guard_loses_a_lock_that_was_granted_to_its_token_again() {
    let server = RedisServer::start().await;
    let guard = server.locker().hold("job", Duration::from_secs(3)).await.unwrap().granted().unwrap();
    // As after a failover that lost the hand-off, and not the entry in the queue.
    let again = format!("{}\u{1f}{}", guard.lease().token.as_str(), guard.fence() + 2);
    () = server.run(&["SET", "lock:job", &again, "KEEPTTL"]).await;
    assert!(matches!(guard.lost().await, LostReason::Absent), "{guard:?}");
    until(async || server.stored("job").await.is_none()).await;
}
