//! A primary that sentinels watch over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use locker_host::{ErrorKind, LockOptions, LockOutcome, Locker, Redis, UnlockOutcome};
use rstest::rstest;
use tokio::task::JoinSet;

use crate::harness::{Command, LONG, RedisServer, Sentinels, granted, until};

#[tokio::test]
async fn the_sentinels_tell_where_the_primary_is() {
    let sentinels = Sentinels::start().await;
    let locker = sentinels.locker();
    let lease = granted(locker.lock("job", LONG).await);
    assert_eq!(sentinels.primary.stored("job").await.unwrap().0, lease.token.as_str());
    assert_eq!(locker.unlock("job", &lease.token).await.unwrap(), UnlockOutcome::Released);
}

#[tokio::test]
async fn a_name_that_the_sentinels_do_not_know_is_unavailable() {
    let sentinels = Sentinels::start().await;
    let url = sentinels.url().replace("/main", "/other");
    let locker = Locker::new(Redis::open(&url).unwrap().timeout(LONG / 60)).unwrap();
    let error = locker.lock("job", LONG).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains(r#"Redis "other" by the sentinels at 127.0.0.1:"#), "{error}");
}

#[tokio::test]
async fn traffic_goes_on_after_a_failover_and_fences_rise() {
    let mut sentinels = Sentinels::start().await;
    let (done, highest) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
    let mut workers = JoinSet::new();
    for _ in 0..4 {
        workers.spawn(work(sentinels.locker(), done.clone(), highest.clone()));
    }
    until(async || highest.load(Ordering::SeqCst) > 0).await;
    sentinels.primary.kill();
    sentinels.replica.replicates("role:master").await;
    let before = highest.load(Ordering::SeqCst);
    until(async || highest.load(Ordering::SeqCst) > before).await;
    done.store(true, Ordering::SeqCst);
    workers.join_all().await;
}

/// Takes and releases one lock, and sees that its fence only rises.
async fn work(locker: Locker, done: Arc<AtomicBool>, highest: Arc<AtomicU64>) {
    while !done.load(Ordering::SeqCst) {
        let short = LockOptions::from(LONG / 60).wait(LONG);
        let Ok(LockOutcome::Granted(lease)) = locker.lock("job", short).await else { continue };
        let before = highest.fetch_max(lease.fence, Ordering::SeqCst);
        assert!(before < lease.fence, "{before} before {}", lease.fence);
        _ = locker.unlock("job", &lease.token).await;
    }
}

#[tokio::test]
async fn the_command_takes_the_sentinels_url() {
    let sentinels = Sentinels::start().await;
    let ran = Command::new(&["exec", "job", "--", "echo", "done"]).env("LOCKER_CACHE", &sentinels.url()).run().await;
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "done\n"), "{ran:?}");
}

/// A primary with a password, and a sentinel with its own, or with none.
async fn with_passwords(of_sentinel: Option<&str>) -> (RedisServer, RedisServer) {
    let primary = RedisServer::start().await;
    let port = primary.port();
    let mut configuration = format!(
        "sentinel monitor main 127.0.0.1 {port} 1\nsentinel auth-user main app\nsentinel auth-pass main secret\n"
    );
    () = primary.run(&["ACL", "SETUSER", "app", "on", ">secret", "~*", "&*", "+@all"]).await;
    if let Some(password) = of_sentinel {
        configuration += &format!("user watcher on >{password} +@all ~* &*\n");
    }
    let sentinel = RedisServer::start_sentinel(None, &configuration).await;
    until(async || sentinel.run::<String>(&["INFO", "sentinel"]).await.contains("status=ok")).await;
    if of_sentinel.is_some() {
        () = sentinel.run(&["ACL", "SETUSER", "default", "-@all", "+ping", "+info"]).await;
    }
    () = primary.run(&["ACL", "SETUSER", "default", "-@all", "+ping", "+info"]).await;
    (primary, sentinel)
}

#[rstest]
#[case::without_a_password(None, "")]
#[case::with_another_login(Some("watching"), "?sentinel-user=watcher&sentinel-password=watching")]
#[tokio::test]
async fn sentinels_need_not_have_the_login_of_the_servers(#[case] of_sentinel: Option<&str>, #[case] options: &str) {
    let (_primary, sentinel) = with_passwords(of_sentinel).await;
    let url = format!("redis+sentinel://app:secret@127.0.0.1:{}/main{options}", sentinel.port());
    granted(Locker::new(Redis::open(&url).unwrap()).unwrap().lock("job", LONG).await);
}
