//! Running a command under a lock.

use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rstest::rstest;
use tokio::task::JoinSet;

use crate::harness::{Command, LONG, Ran, RedisServer, until};

#[tokio::test]
async fn the_command_runs_with_the_lock_and_knows_its_fence() {
    let server = RedisServer::start().await;
    let script = r#"echo "$LOCKER_NAME $LOCKER_FENCE""#;
    let ran = Command::on(&server, &["exec", "my job", "--", "sh", "-c", script]).run().await;
    let fence: u64 = server.run(&["GET", "lock:\u{1f}fence{lock:my job}"]).await;
    assert_eq!((ran.code, ran.line()), (Some(0), format!("my job {fence}").as_str()));
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
    Command::on(&server, &["exec", "job", "--", "/no/such/command"]).run().await;
    assert_eq!(Command::on(&server, &["status", "job"]).run().await.line(), "free");
}

#[tokio::test]
async fn a_command_is_stopped_before_its_time_is_up() {
    let started = Instant::now();
    let ran = Command::new(&["exec", "job", "--ttl", "1s", "--", "sleep", "60"]).run().await;
    assert_eq!(ran.code, Some(74));
    assert!(ran.stderr.contains("longer --ttl"), "{ran:?}");
    assert!(started.elapsed() < LONG / 2);
}

#[tokio::test]
async fn a_command_that_does_not_stop_is_killed_with_all_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let (alive, script) = (folder.path().join("alive"), "trap '' TERM; (trap '' TERM; sleep 3; touch $0) & sleep 3");
    let command = ["exec", "job", "--ttl", "1s", "--", "sh", "-c", script, alive.to_str().unwrap()];
    assert_eq!(Command::new(&command).run().await.code, Some(74));
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    assert!(!alive.exists(), "what the command started went on without the lock");
}

#[tokio::test]
async fn a_lock_that_was_lost_while_the_command_ran_is_74() {
    let server = RedisServer::start().await;
    let running = Command::on(&server, &["exec", "job", "--", "sleep", "1"]).spawn();
    until(async || server.run::<u64>(&["DEL", "lock:job"]).await == 1).await;
    let ran = Ran::of(running).await;
    assert_eq!(ran.code, Some(74), "{ran:?}");
}

#[rstest]
#[case::interrupt(Signal::SIGINT, 130)]
#[case::terminate(Signal::SIGTERM, 143)]
#[case::hang_up(Signal::SIGHUP, 129)]
#[tokio::test]
async fn a_signal_reaches_the_command_and_the_lock_is_released(#[case] signal: Signal, #[case] code: i32) {
    let server = RedisServer::start().await;
    let running = Command::on(&server, &["exec", "job", "--", "sleep", "30"]).spawn();
    until(async || server.keys().await.len() == 2).await;
    kill(Pid::from_raw(running.id().unwrap().try_into().unwrap()), signal).unwrap();
    assert_eq!(Ran::of(running).await.code, Some(code));
    assert_eq!(Command::on(&server, &["status", "job"]).run().await.line(), "free");
}

#[tokio::test]
async fn a_signal_ends_a_wait_at_once() {
    let server = RedisServer::start().await;
    Command::on(&server, &["lock", "job", "--ttl", "1h"]).run().await;
    let waiting = Command::on(&server, &["exec", "job", "--wait", "1h", "--", "true"]).spawn();
    until(async || !server.channels().await.is_empty()).await;
    kill(Pid::from_raw(waiting.id().unwrap().try_into().unwrap()), Signal::SIGTERM).unwrap();
    assert_eq!(Ran::of(waiting).await.code, Some(143));
}

#[tokio::test]
async fn the_token_is_not_handed_to_the_command() {
    let ran = Command::new(&["exec", "job", "--", "env"]).env("LOCKER_TOKEN", "secret").run().await;
    assert!(!ran.stdout.contains("LOCKER_TOKEN"), "{ran:?}");
}
