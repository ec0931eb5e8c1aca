//! What a server refuses, and what its users are told.

use std::error::Error as _;

use locker_host::{Error, ErrorKind, LockOptions, Locker, Redis};

use crate::harness::{Cluster, LONG, RedisServer, patiently, until};

#[track_caller]
fn assert_told<T: std::fmt::Debug>(outcome: Result<T, Error>, kind: ErrorKind, words: &str) {
    let error = outcome.unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(words), "{error}");
}

fn with_login(server: &RedisServer, login: &str) -> Locker {
    Locker::new(Redis::open(&server.url().replace("://", &format!("://{login}@"))).unwrap()).unwrap()
}

/// Makes a user with the rule that the README names, and more.
async fn permit(server: &RedisServer, more: &[&str]) {
    const README: &str = include_str!("../README.md");
    let rule = README.lines().find(|line| line.starts_with("ACL SETUSER locker")).expect("the README names a rule");
    let rule = rule.replace(">PASSWORD", ">secret");
    () = server.run(&rule.split(' ').chain(more.iter().copied()).collect::<Vec<_>>()).await;
}

#[tokio::test]
async fn a_server_that_wants_a_login() {
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
    let waiter = tokio::spawn(async move { other.lock("job", patiently()).await });
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
async fn a_user_who_may_not_enough() {
    let server = RedisServer::start().await;
    () = server.run(&["ACL", "SETUSER", "weak", "on", ">secret", "~lock:*", "+hello", "+get"]).await;
    let locker = with_login(&server, "weak:secret");
    assert_told(locker.lock("job", LONG).await, ErrorKind::Denied, "does not permit this user what a lock needs");
    () = server.run(&["ACL", "SETUSER", "elsewhere", "on", ">secret", "~other:*", "+@all"]).await;
    let locker = with_login(&server, "elsewhere:secret");
    assert_told(locker.lock("job", LONG).await, ErrorKind::Denied, "does not permit this user what a lock needs");
}

#[tokio::test]
async fn a_server_that_runs_no_scripts() {
    let settings = ["--rename-command", "EVALSHA", ""];
    let server = RedisServer::start_with(|_| settings.map(str::to_owned).into()).await;
    let outcome = server.locker().lock("job", LockOptions::from(LONG).owner("sesame")).await;
    // The server quotes what it does not know, and what it was given was the token.
    assert!(!format!("{outcome:?} {:?}", outcome.as_ref().unwrap_err().source()).contains("sesame"));
    assert_told(outcome, ErrorKind::Denied, "runs no scripts");
}

#[tokio::test]
async fn a_replica() {
    let (primary, replica) = (RedisServer::start().await, RedisServer::start().await);
    () = replica.run(&["REPLICAOF", "127.0.0.1", &primary.port().to_string()]).await;
    assert_told(replica.locker().lock("job", LONG).await, ErrorKind::Unavailable, "is a replica");
}

#[tokio::test]
async fn a_server_without_memory() {
    let server = RedisServer::start().await;
    () = server.run(&["CONFIG", "SET", "maxmemory", "1"]).await;
    assert_told(server.locker().lock("job", LONG).await, ErrorKind::Unavailable, "is out of memory");
}

#[tokio::test]
async fn a_server_that_is_still_loading() {
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
