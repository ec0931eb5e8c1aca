//! Running a command under a lock.

use nix::sys::signal::Signal;
use rstest::rstest;
use tokio::task::JoinSet;

use crate::harness::{Command, Ran, RedisServer, key_of, send, until};

#[tokio::test]
async fn the_command_runs_with_the_lock_and_knows_its_name_fence_and_time() {
    let server = RedisServer::start().await;
    let script = r#"echo "$LOCKER_NAME $LOCKER_FENCE $((LOCKER_TTL_MS > 29000 && LOCKER_TTL_MS <= 30000))""#;
    let ran = Command::on(&server, &["exec", "my job", "--", "sh", "-c", script]).run().await;
    let fence: u64 = server.run(&["GET", &key_of("fence", "my job")]).await;
    assert_eq!((ran.code, ran.line()), (Some(0), format!("my job {fence} 1").as_str()));
}

#[tokio::test]
async fn the_lock_is_held_while_the_command_runs_and_free_after_it() {
    let server = RedisServer::start().await;
    let running = Command::on(&server, &["exec", "job", "--", "sleep", "3"]).spawn();
    until(async || server.keys().await.len() == 2).await;
    assert_eq!(Command::on(&server, &["status", "job"]).run().await.code, Some(0));
    assert_eq!(Command::on(&server, &["exec", "job", "--", "true"]).run().await.code, Some(75));
    assert_eq!(Command::on(&server, &["exec", "job", "-E", "9", "--", "true"]).run().await.code, Some(9));
    assert_eq!(Ran::of(running).await.code, Some(0));
    assert_eq!(Command::on(&server, &["status", "job"]).run().await.line(), "free");
}

#[tokio::test]
async fn ten_processes_that_increment_a_counter_lose_nothing() {
    const TIMES: usize = 100;
    let server = RedisServer::start().await;
    let folder = tempfile::tempdir().unwrap();
    let counter = folder.path().join("counter");
    std::fs::write(&counter, "0").unwrap();
    let script = format!("n=$(cat {0}); echo $((n + 1)) > {0}", counter.display());
    let mut workers = JoinSet::new();
    for _ in 0..10 {
        let (url, script) = (server.url(), script.clone());
        workers.spawn(async move {
            for _ in 0..TIMES {
                let exec = ["exec", "counter", "--wait", "2min", "--", "sh", "-c", &script];
                let ran = Command::new(&exec).env("LOCKER_CACHE", &url).run().await;
                assert_eq!(ran.code, Some(0), "{ran:?}");
            }
        });
    }
    workers.join_all().await;
    assert_eq!(std::fs::read_to_string(counter).unwrap().trim(), (10 * TIMES).to_string());
}

#[rstest]
#[case::done(&["true"], 0)]
#[case::failed(&["sh", "-c", "exit 42"], 42)]
#[case::ended_by_a_signal(&["sh", "-c", "kill -KILL $$"], 137)]
#[case::not_found(&["/no/such/command"], 127)]
#[case::not_executable(&["/etc/passwd"], 126)]
#[tokio::test]
async fn it_exits_as_its_command_does(#[case] command: &[&str], #[case] code: i32) {
    let ran = Command::new(&[&["exec", "job", "--"], command].concat()).run().await;
    assert_eq!(ran.code, Some(code), "{ran:?}");
}

#[tokio::test]
async fn a_command_that_cannot_run_leaves_no_lock() {
    let server = RedisServer::start().await;
    Command::on(&server, &["exec", "job", "--min-hold", "1min", "--", "/no/such/command"]).run().await;
    assert_eq!(Command::on(&server, &["status", "job"]).run().await.line(), "free");
}

#[rstest]
#[case::interrupt(Signal::SIGINT, 130)]
#[case::terminate(Signal::SIGTERM, 143)]
#[case::hang_up(Signal::SIGHUP, 129)]
#[case::quit(Signal::SIGQUIT, 131)]
#[case::user_1(Signal::SIGUSR1, 138)]
#[case::user_2(Signal::SIGUSR2, 140)]
#[tokio::test]
async fn a_signal_reaches_the_command_and_the_lock_is_released(#[case] signal: Signal, #[case] code: i32) {
    let server = RedisServer::start().await;
    let running = Command::on(&server, &["exec", "job", "--", "sleep", "30"]).spawn();
    until(async || server.keys().await.len() == 2).await;
    send(&running, signal);
    assert_eq!(Ran::of(running).await.code, Some(code));
    assert_eq!(Command::on(&server, &["status", "job"]).run().await.line(), "free");
}

#[tokio::test]
async fn a_signal_ends_a_wait_at_once() {
    let server = RedisServer::start().await;
    Command::on(&server, &["lock", "job", "--ttl", "1h"]).run().await;
    let waiting = Command::on(&server, &["exec", "job", "--wait", "1h", "--", "true"]).spawn();
    until(async || !server.channels().await.is_empty()).await;
    send(&waiting, Signal::SIGTERM);
    assert_eq!(Ran::of(waiting).await.code, Some(143));
}

#[tokio::test]
async fn the_token_is_handed_over_in_a_file_that_only_this_user_can_read() {
    let server = RedisServer::start().await;
    let script = r#"echo "$LOCKER_TOKEN_FILE"; stat -c %a "$LOCKER_TOKEN_FILE"; cat "$LOCKER_TOKEN_FILE"; sleep 3"#;
    let running = Command::on(&server, &["exec", "job", "--", "sh", "-c", script]).spawn();
    until(async || server.keys().await.len() == 2).await;
    let (token, _) = server.stored("job").await.unwrap();
    let ran = Ran::of(running).await;
    let lines: Vec<_> = ran.stdout.lines().collect();
    assert_eq!(lines[1..], ["600", &token]);
    assert!(!std::path::Path::new(lines[0]).exists(), "it is still there");
}

#[tokio::test]
async fn the_token_is_not_in_the_commands_environment() {
    let ran = Command::new(&["exec", "job", "--", "env"]).env("LOCKER_TOKEN", "secret").run().await;
    assert!(!ran.stdout.contains("LOCKER_TOKEN="), "{ran:?}");
}
