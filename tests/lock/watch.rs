//! Watching the state of a lock.

use std::time::Duration;

use locker_host::{ErrorKind, Locker, Redis, Watch};
use rstest::rstest;
use tokio::time::timeout;

use crate::harness::{Backend, LONG, RedisServer, SHORT, granted, waiting_options};

/// So long that none expires in a test.
const HOUR: Duration = Duration::from_secs(60 * 60);

/// The fence of the next holder.
async fn next(watch: &mut Watch) -> Option<u64> {
    timeout(LONG, watch.changed()).await.expect("it is told").unwrap().map(|holder| holder.fence)
}

#[rstest]
#[tokio::test]
async fn each_change_is_told(#[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend) {
    let (store, mut fences) = (backend.start().await, vec![]);
    let mut watch = store.another_host().watch("job");
    assert_eq!(next(&mut watch).await, None);
    for _ in 0..3 {
        let lease = store.take("job", HOUR).await;
        assert_eq!(next(&mut watch).await, Some(lease.fence));
        store.locker.unlock("job", &lease.token).await.unwrap();
        assert_eq!(next(&mut watch).await, None);
        fences.push(lease.fence);
    }
    assert!(fences.is_sorted());
}

#[rstest]
#[tokio::test]
async fn a_hand_off_an_expiry_and_a_completion_are_told(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    let first = store.take("job", HOUR).await;
    let mut watch = store.another_host().watch("job");
    assert_eq!(next(&mut watch).await, Some(first.fence));
    let waiter = store.waiter(&store.locker, "job", waiting_options()).await;
    store.locker.unlock("job", &first.token).await.unwrap();
    let second = waiter.await.unwrap().unwrap().granted().unwrap();
    assert_eq!(next(&mut watch).await, Some(second.fence));
    store.locker.complete("job", &second.token, 10 * SHORT).await.unwrap();
    assert!(timeout(LONG, watch.changed()).await.unwrap().unwrap().unwrap().done.is_some());
    assert_eq!(next(&mut watch).await, None);
}

#[tokio::test]
async fn watchers_of_a_free_lock_wake_neither_each_other_nor_the_server() {
    let server = RedisServer::start().await;
    let watches = async || {
        let mut watch = server.locker().watch("job");
        timeout(3 * SHORT, async { while watch.changed().await.unwrap().is_none() {} }).await.unwrap_err();
    };
    let calls = async || {
        let info: String = server.run(&["INFO", "stats"]).await;
        let line = info.lines().find_map(|line| line.strip_prefix("total_commands_processed:")).unwrap();
        line.parse::<u64>().unwrap()
    };
    let before = calls().await;
    tokio::join!(watches(), watches(), watches());
    assert!(calls().await - before < 200);
}

#[tokio::test]
async fn a_watch_outlasts_an_outage() {
    let mut server = RedisServer::start().await;
    let mut watch = Locker::new(server.redis().timeout(SHORT)).unwrap().watch("job");
    assert_eq!(next(&mut watch).await, None);
    server.kill();
    assert_eq!(watch.changed().await.unwrap_err().kind(), ErrorKind::Unavailable);
    server.start_again().await;
    assert_eq!(next(&mut watch).await, None);
}

#[tokio::test]
async fn a_user_that_may_only_read_sees_changes_too() {
    let server = RedisServer::start().await;
    let rule = "on >secret ~lock:* +hello +client +ping +evalsha +script|load +time +getrange +exists +pttl";
    let words: Vec<_> = ["ACL", "SETUSER", "reader"].into_iter().chain(rule.split(' ')).collect();
    () = server.run(&words).await;
    let url = format!("redis://reader:secret@127.0.0.1:{}", server.port());
    let mut watch = Locker::new(Redis::open(&url).unwrap()).unwrap().watch("job");
    assert_eq!(next(&mut watch).await, None);
    let changed = tokio::spawn(async move { next(&mut watch).await });
    // Until it has looked again, and found no change.
    tokio::time::sleep(SHORT).await;
    let lease = granted(server.locker().lock("job", HOUR).await);
    assert_eq!(changed.await.unwrap(), Some(lease.fence));
}
