//! All locks at a glance.

use std::sync::Arc;

use locker_host::{Cache, Holder, LockOptions, Locker, Memory, Quorum, QuorumMember, Redis};
use rstest::rstest;

use crate::harness::{Backend, Cluster, LONG, RedisServer, SHORT, granted, held};

async fn names(locker: &Locker) -> Vec<String> {
    locker.list().await.unwrap().into_keys().collect()
}

#[rstest]
#[tokio::test]
async fn all_locks_are_listed_with_who_holds_them(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    assert!(names(&store.locker).await.is_empty());
    let lease = store.take("b", LockOptions::from(LONG).owner("me")).await;
    store.take("a", LONG).await;
    let released = store.take("c", LONG).await;
    store.locker.unlock("c", &released.token).await.unwrap();
    let list = store.locker.list().await.unwrap();
    assert_eq!(list.keys().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!((list["b"].owner.as_deref(), list["b"].fence), (Some("me"), lease.fence));
    assert!(list["b"].ttl > Some(LONG / 2));
}

#[rstest]
#[tokio::test]
async fn more_locks_than_a_scan_finds_at_once(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    for number in 0..1500 {
        store.take(&number.to_string(), LONG).await;
    }
    assert_eq!(names(&store.locker).await.len(), 1500);
}

#[tokio::test]
async fn what_is_no_lock_is_not_listed() {
    let server = RedisServer::start().await;
    () = server.run(&["SET", "other", "value"]).await;
    () = server.run(&["RPUSH", "lock:list", "value"]).await;
    () = server.run(&["SET", "lock:a\nb", "value"]).await;
    assert!(names(&server.locker()).await.is_empty());
}

#[rstest]
#[case::large(&["EVAL", "return redis.call('SET', KEYS[1], string.rep('x', 5000000))", "1", "lock:foreign"])]
#[case::empty(&["SET", "lock:foreign", ""])]
#[case::binary(&["EVAL", "return redis.call('SET', KEYS[1], string.char(0, 255, 31, 10))", "1", "lock:foreign"])]
#[case::like_ours(&["SET", "lock:foreign", "0123456789abcdef0123456789abcdef\u{1f}"])]
#[tokio::test]
async fn a_foreign_value_is_held_for_ever_and_hides_no_lock(#[case] command: &[&str]) {
    let server = RedisServer::start().await;
    let locker = server.locker();
    granted(locker.lock("ours", LONG).await);
    let _: redis::Value = server.run(command).await;
    assert_eq!(names(&locker).await, ["foreign", "ours"]);
    let holder = held(locker.lock("foreign", LockOptions::from(LONG).wait(SHORT)).await);
    assert_eq!(holder, Holder { owner: None, fence: 0, ttl: None, done: None });
}

#[tokio::test]
async fn a_prefix_is_taken_by_its_letters() {
    let server = RedisServer::start().await;
    granted(server.locker().lock("job", LONG).await);
    for prefix in ["l?ck:", "[l]ock:", "*", "\\lock:"] {
        let locker = Locker::new(Redis::open(&server.url()).unwrap().prefix(prefix).unwrap()).unwrap();
        assert!(names(&locker).await.is_empty(), "{prefix:?}");
        granted(locker.lock("mine", LONG).await);
        assert_eq!(names(&locker).await, ["mine"], "{prefix:?}");
    }
}

#[tokio::test]
async fn the_locks_of_a_cluster_are_those_of_all_its_nodes() {
    let cluster = Cluster::start().await;
    let locker = cluster.locker();
    for name in ["a", "b", "c", "d"] {
        granted(locker.lock(name, LONG).await);
    }
    assert_eq!(names(&locker).await, ["a", "b", "c", "d"]);
}

#[tokio::test]
async fn a_quorum_lists_what_a_majority_holds() {
    let members: Vec<_> = (0..3).map(|_| Memory::default()).collect();
    let caches = members.iter().map(|member| Arc::new(member.clone()) as Arc<dyn QuorumMember>);
    let locker = Locker::new(Quorum::new(caches.collect()).unwrap()).unwrap();
    granted(locker.lock("job", LONG).await);
    members[0].try_set("leftover", "value", None).await.unwrap();
    assert_eq!(names(&locker).await, ["job"]);
}
