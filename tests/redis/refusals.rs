//! What a server refuses, and what its users are told.

use std::error::Error as _;

use locker_host::{Error, ErrorKind, LockOptions, Locker, Redis};
use rstest::rstest;

use crate::harness::{Cluster, LONG, RedisServer, key_of, until, waiting_options};

#[track_caller]
fn assert_told<T: std::fmt::Debug>(outcome: Result<T, Error>, kind: ErrorKind, words: &str) {
    let error = outcome.unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(words), "{error}");
}

pub(super) fn with_login(server: &RedisServer, login: &str) -> Locker {
    Locker::new(Redis::open(&server.url().replace("://", &format!("://{login}@"))).unwrap()).unwrap()
}

/// Makes a user with the rule that the page about stores has, and more.
pub(super) async fn permit(server: &RedisServer, more: &[&str]) {
    const PAGE: &str = include_str!("../../docs/stores.md");
    let rule = PAGE.lines().find(|line| line.starts_with("ACL SETUSER locker")).expect("the page has a rule");
    let rule = rule.replace(">PASSWORD", ">secret");
    () = server.run(&rule.split(' ').chain(more.iter().copied()).collect::<Vec<_>>()).await;
}

#[tokio::test]
async fn a_server_that_wants_a_login_is_reported_as_denied() {
    let server = RedisServer::start().await;
    () = server.run(&["CONFIG", "SET", "requirepass", "secret"]).await;
    assert_told(server.locker().lock("job", LONG).await, ErrorKind::Denied, "asks for a login");
    assert_told(
        with_login(&server, ":wrong").lock("job", LONG).await,
        ErrorKind::Denied,
        "refuses the user name or password",
    );
    with_login(&server, ":secret").lock("job", LONG).await.unwrap().granted().unwrap();
}

#[tokio::test]
async fn a_user_who_may_do_just_what_a_lock_needs() {
    let server = RedisServer::start().await;
    permit(&server, &[]).await;
    let locker = with_login(&server, "locker:secret");
    let lease = locker.lock("job", LONG).await.unwrap().granted().unwrap();
    _ = locker.extend("job", &lease.token, LONG).await.unwrap();
    let other = with_login(&server, "locker:secret");
    let waiter = tokio::spawn(async move { other.lock("job", waiting_options()).await });
    until(async || !server.channels().await.is_empty()).await;
    locker.unlock("job", &lease.token).await.unwrap();
    waiter.await.unwrap().unwrap().granted().unwrap();
    until(async || server.channels().await.is_empty()).await;
}

#[tokio::test]
async fn a_user_who_may_wait_for_replicas() {
    let server = RedisServer::start().await;
    permit(&server, &["+wait"]).await;
    let url = format!("{}?wait-replicas=1", server.url().replace("://", "://locker:secret@"));
    let locker = Locker::new(Redis::open(&url).unwrap()).unwrap();
    assert_told(locker.lock("job", LONG).await, ErrorKind::Unavailable, "0 replicas have confirmed");
}

#[tokio::test]
async fn a_user_who_may_use_a_cluster() {
    let cluster = Cluster::start().await;
    for node in &cluster.nodes {
        permit(node, &["+cluster|slots"]).await;
    }
    let url = cluster.url().replace("://", "://locker:secret@");
    let locker = Locker::new(Redis::open(&url).unwrap()).unwrap();
    for name in ["a", "b", "c"] {
        let lease = locker.lock(name, LONG).await.unwrap().granted().unwrap();
        locker.unlock(name, &lease.token).await.unwrap();
    }
}

#[tokio::test]
async fn a_user_who_lacks_a_permission_is_denied() {
    let server = RedisServer::start().await;
    () = server.run(&["ACL", "SETUSER", "weak", "on", ">secret", "~lock:*", "+hello", "+get"]).await;
    let locker = with_login(&server, "weak:secret");
    assert_told(locker.lock("job", LONG).await, ErrorKind::Denied, "does not permit this user what a lock needs");
    () = server.run(&["ACL", "SETUSER", "elsewhere", "on", ">secret", "~other:*", "+@all"]).await;
    let locker = with_login(&server, "elsewhere:secret");
    assert_told(locker.lock("job", LONG).await, ErrorKind::Denied, "does not permit this user what a lock needs");
}

/// What a user may not do, although it may do all else, and what then fails.
#[rstest]
#[case::channels(&["resetchannels"])]
#[case::publishing(&["-publish"])]
#[case::counting_subscribers(&["-pubsub|numsub"])]
#[case::removing_entries(&["-zrem"])]
#[case::deleting(&["-del"])]
#[tokio::test]
async fn a_release_that_may_not_do_all_of_its_writes_does_none(#[case] denied: &[&str]) {
    let server = RedisServer::start().await;
    permit(&server, denied).await;
    let (holder, weak) = (server.locker(), with_login(&server, "locker:secret"));
    let lease = holder.lock("job", LONG).await.unwrap().granted().unwrap();
    let waiter = server.waiter(server.locker(), waiting_options()).await;
    let before = server.entries("job").await;
    let outcome = weak.unlock("job", &lease.token).await;
    assert_told(outcome, ErrorKind::Denied, "does not permit this user what a lock needs");
    assert_eq!(server.stored("job").await.unwrap().0, lease.token.as_str());
    assert_eq!(server.entries("job").await, before);
    waiter.abort();
}

#[rstest]
#[case::queueing(&["-zadd"])]
#[case::letting_the_queue_expire(&["-pexpire"])]
#[tokio::test]
async fn a_wait_that_may_not_do_all_of_its_writes_does_none(#[case] denied: &[&str]) {
    let server = RedisServer::start().await;
    permit(&server, denied).await;
    let lease = server.locker().lock("job", LONG).await.unwrap().granted().unwrap();
    let before = server.keys().await;
    let outcome = with_login(&server, "locker:secret").lock("job", waiting_options()).await;
    assert_told(outcome, ErrorKind::Denied, "does not permit this user what a lock needs");
    assert_eq!(server.keys().await, before);
    assert_eq!(server.stored("job").await.unwrap().0, lease.token.as_str());
}

#[rstest]
#[case::a_list(&["RPUSH", &key_of("fence", "job"), "x"])]
#[case::a_hash(&["HSET", &key_of("fence", "job"), "x", "y"])]
#[tokio::test]
async fn a_fence_counter_of_another_type_leaves_everything_unchanged(#[case] command: &[&str]) {
    let server = RedisServer::start().await;
    _ = server.run::<u64>(command).await;
    assert_told(server.locker().lock("job", LONG).await, ErrorKind::Denied, "under a key of Locker's own");
    assert_eq!(server.keys().await, [key_of("fence", "job")]);
}

#[tokio::test]
async fn a_fence_counter_of_another_type_keeps_the_waiter_in_the_queue() {
    let server = RedisServer::start().await;
    let locker = server.locker();
    let lease = locker.lock("job", LONG).await.unwrap().granted().unwrap();
    let waiter = server.waiter(server.locker(), waiting_options()).await;
    let before = server.entries("job").await;
    () = server
        .run(&["EVAL", "redis.call('DEL', KEYS[1]) redis.call('RPUSH', KEYS[1], 'x')", "1", &key_of("fence", "job")])
        .await;
    assert_told(locker.unlock("job", &lease.token).await, ErrorKind::Denied, "under a key of Locker's own");
    assert_eq!(server.entries("job").await, before);
    waiter.abort();
}

#[rstest]
#[tokio::test]
async fn a_server_whose_command_was_renamed_is_denied(
    #[values("EXISTS", "GETRANGE", "SET", "TIME", "ZADD", "PEXPIRE", "MGET", "SUBSCRIBE")] command: &str,
) {
    let settings = ["--rename-command", command, ""].map(str::to_owned);
    let server = RedisServer::start_with(|_| settings.clone().into()).await;
    let locker = server.locker();
    let outcome = match locker.lock("job", LONG).await {
        Ok(lock) => {
            drop(lock);
            locker.lock("job", waiting_options()).await
        }
        refused => refused,
    };
    assert_eq!(outcome.as_ref().unwrap_err().kind(), ErrorKind::Denied, "{outcome:?}");
}

#[tokio::test]
async fn a_server_that_runs_no_scripts_is_denied() {
    let settings = ["--rename-command", "EVALSHA", ""];
    let server = RedisServer::start_with(|_| settings.map(str::to_owned).into()).await;
    let outcome = server.locker().lock("job", LockOptions::from(LONG).owner("sesame")).await;
    // The server quotes what it does not know, and what it was given was the token.
    assert!(!format!("{outcome:?} {:?}", outcome.as_ref().unwrap_err().source()).contains("sesame"));
    assert_told(outcome, ErrorKind::Denied, "runs no scripts");
}

#[tokio::test]
async fn a_replica_is_refused_as_unavailable() {
    let (primary, replica) = (RedisServer::start().await, RedisServer::start().await);
    () = replica.run(&["REPLICAOF", "127.0.0.1", &primary.port().to_string()]).await;
    assert_told(replica.locker().lock("job", LONG).await, ErrorKind::Unavailable, "is a replica");
}

#[tokio::test]
async fn a_server_without_memory_is_reported_as_unavailable() {
    let server = RedisServer::start().await;
    () = server.run(&["CONFIG", "SET", "maxmemory", "1"]).await;
    assert_told(server.locker().lock("job", LONG).await, ErrorKind::Unavailable, "is out of memory");
}

#[tokio::test]
async fn a_server_that_still_loads_is_unavailable() {
    let mut server = RedisServer::start().await;
    for key in 0..50 {
        () = server.run(&["SET", &key.to_string(), &"v".repeat(2000)]).await;
    }
    () = server.run(&["CONFIG", "SET", "rdbcompression", "no"]).await;
    () = server.run(&["SAVE"]).await;
    server.kill();
    // A tenth of a second for each key, in microseconds, after which it looks what is asked.
    let slowly = ["--key-load-delay", "100000", "--loading-process-events-interval-bytes", "1024"];
    server.start_again_with(&slowly).await;
    let locker = server.locker();
    assert_told(locker.lock("job", LONG).await, ErrorKind::Unavailable, "is still loading its data");
    until(async || locker.lock("job", LONG).await.is_ok()).await;
}

#[tokio::test]
async fn a_server_that_does_not_keep_what_it_should() {
    let server = RedisServer::start().await;
    () = server.run(&["CONFIG", "SET", "min-replicas-to-write", "1"]).await;
    assert_told(server.locker().lock("job", LONG).await, ErrorKind::Unavailable, "NOREPLICAS");
}
