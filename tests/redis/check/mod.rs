//! What a check finds on servers with faults, and that it leaves nothing there.

mod permissions;
mod topologies;

use std::time::{Duration, Instant};

use locker_host::{Cache, Finding, Locker, Redis, Status};
use nix::sys::signal::{Signal, kill};
use rstest::rstest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::harness::{LONG, RedisServer, granted, until, waiting_options};

/// What `Redis` logs every write with.
const KEEPS_ALL: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];

async fn start(settings: &[&str]) -> RedisServer {
    RedisServer::start_with(|_| settings.iter().map(ToString::to_string).collect()).await
}

async fn check(url: &str) -> Vec<Finding> {
    Locker::new(Redis::open(url).unwrap()).unwrap().check().await
}

/// The address of a server with a login in it.
fn with_login(url: &str, login: &str) -> String {
    url.replace("://", &format!("://{login}@"))
}

fn failures(findings: &[Finding]) -> Vec<&Finding> {
    findings.iter().filter(|finding| finding.status == Status::Failure).collect()
}

/// A subject has this status, and the words are in what was found or in the remedy.
#[track_caller]
fn assert_found(findings: &[Finding], subject: &str, status: Status, words: &str) {
    let finding = findings.iter().find(|finding| finding.subject == subject && finding.status == status);
    let finding = finding.unwrap_or_else(|| panic!("{subject} is not {status:?} in {findings:#?}"));
    let remedy = finding.remedy.as_deref().unwrap_or_default();
    assert!(finding.found.contains(words) || remedy.contains(words), "{finding:?}");
    assert!(status == Status::Ok || !remedy.is_empty(), "{finding:?} has no remedy");
}

#[tokio::test]
async fn a_healthy_server_is_ok_and_keeps_one_fence_counter() {
    let server = start(&KEEPS_ALL).await;
    for _ in 0..2 {
        let findings = check(&server.url()).await;
        assert!(findings.iter().all(|finding| finding.status == Status::Ok), "{findings:#?}");
    }
    let keys = server.keys().await;
    assert!(keys.len() == 1 && keys[0].starts_with("lock:\u{1f}fence{"), "{keys:?}");
    until(async || server.channels().await.is_empty()).await;
}

#[tokio::test]
async fn a_check_leaves_nothing_outside_of_its_prefix() {
    let server = start(&[]).await;
    let redis = server.redis().prefix("app:").unwrap();
    assert_eq!(failures(&redis.check().await), Vec::<&Finding>::new());
    assert!(server.keys().await.iter().all(|key| key.starts_with("app:\u{1f}fence{")));
}

#[rstest]
#[case::that_evicts(&["--maxmemory-policy", "allkeys-lru", "--maxmemory", "64mb"], "eviction", Status::Failure, "maxmemory-policy noeviction")]
#[case::that_evicts_what_expires(&["--maxmemory-policy", "volatile-ttl", "--maxmemory", "64mb"], "eviction", Status::Failure, "maxmemory-policy noeviction")]
#[case::that_would_evict_if_it_had_a_limit(&["--maxmemory-policy", "allkeys-lru"], "eviction", Status::Warning, "maxmemory-policy noeviction")]
#[case::that_keeps_nothing(&[], "persistence", Status::Warning, "a restart frees all locks")]
#[case::that_keeps_snapshots(&["--save", "60 1"], "persistence", Status::Warning, "since the last one")]
#[case::that_logs_each_second(&["--appendonly", "yes"], "persistence", Status::Warning, "appendfsync always")]
#[case::that_lets_the_system_decide(&["--appendonly", "yes", "--appendfsync", "no"], "persistence", Status::Warning, "half minute")]
#[case::that_needs_replicas_for_writes(&["--min-replicas-to-write", "1"], "writes", Status::Failure, "NOREPLICAS")]
#[case::that_is_full(&["--maxmemory", "1"], "writes", Status::Failure, "is out of memory")]
#[case::whose_command_is_renamed(&["--rename-command", "PUBLISH", "PUBLISH-IT"], "commands", Status::Failure, "PUBLISH")]
#[tokio::test]
async fn a_setting_is_found_on_a_server(
    #[case] settings: &[&str],
    #[case] subject: &str,
    #[case] status: Status,
    #[case] words: &str,
) {
    let server = start(settings).await;
    assert_found(&check(&server.url()).await, subject, status, words);
}

#[tokio::test]
async fn a_wrong_password_is_found_and_not_shown() {
    let server = start(&[]).await;
    () = server.run(&["CONFIG", "SET", "requirepass", "right-secret"]).await;
    assert_found(&check(&server.url()).await, "login", Status::Failure, "put it into the URL");
    let findings = check(&with_login(&server.url(), ":wrong-secret")).await;
    assert_found(&findings, "login", Status::Failure, "correct the login in the URL");
    assert!(!format!("{findings:?}").contains("secret"), "{findings:?}");
    assert!(!format!("{:?}", check(&with_login(&server.url(), ":right-secret")).await).contains("secret"));
}

#[tokio::test]
async fn a_server_without_a_password_finds_a_login_wrong() {
    let server = start(&[]).await;
    assert_found(&check(&with_login(&server.url(), "user:secret")).await, "login", Status::Failure, "login");
}

#[tokio::test]
async fn a_server_that_is_down_is_found() {
    assert_found(&check("redis://127.0.0.1:1").await, "connection", Status::Failure, "Connection refused");
    assert_found(&check("redis+unix:///no/such/socket").await, "connection", Status::Failure, "No such file");
}

#[tokio::test]
async fn a_server_that_hangs_takes_one_timeout() {
    let server = start(&[]).await;
    let redis = server.redis().timeout(Duration::from_millis(300));
    kill(server.pid(), Signal::SIGSTOP).unwrap();
    let started = Instant::now();
    let findings = redis.check().await;
    kill(server.pid(), Signal::SIGCONT).unwrap();
    assert_found(&findings, "connection", Status::Failure, "does not answer in time");
    assert!(started.elapsed() < LONG / 2);
}

#[tokio::test]
async fn a_port_of_another_program_is_found() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            _ = client.read(&mut [0; 4096]).await;
            _ = client.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    assert_found(&check(&url).await, "connection", Status::Failure, "check host and port");
}

#[tokio::test]
async fn a_check_does_not_disturb_those_who_wait() {
    let server = start(&[]).await;
    let locker = server.locker();
    let lease = granted(locker.lock("job", LONG).await);
    let waiter = server.waiter(locker.clone(), waiting_options()).await;
    assert_eq!(failures(&locker.check().await), Vec::<&Finding>::new());
    assert_eq!(server.queued("job").await, 1);
    locker.unlock("job", &lease.token).await.unwrap();
    granted(waiter.await.unwrap());
}
