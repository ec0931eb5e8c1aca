//! Running a command under a lock.

use std::sync::Arc;

use nix::sys::signal::{Signal, kill};
use rstest::rstest;
use tokio::task::JoinSet;

use crate::harness::{Backend, Command, LONG, Ran, RedisServer, Running, key_of, send, until};

#[tokio::test]
async fn the_command_runs_with_the_lock_and_knows_its_name_fence_and_time() {
    let server = RedisServer::start().await;
    let script = r#"echo "$LOCKER_NAME $LOCKER_FENCE $((LOCKER_TTL_MS > 29000 && LOCKER_TTL_MS <= 30000))""#;
    let ran = Command::on(&server, &["exec", "my job", "--", "sh", "-c", script]).run().await;
    let fence: u64 = server.run(&["GET", &key_of("fence", "my job")]).await;
    assert_eq!((ran.code, ran.line()), (Some(0), format!("my job {fence} 1").as_str()));
}

#[rstest]
#[tokio::test]
async fn the_lock_is_held_while_the_command_runs_and_free_after_it(
    #[values(Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    let running = store.command(&["exec", "job", "--", "sleep", "3"]).spawn();
    until(async || store.entry("job").await.is_some()).await;
    assert_eq!(store.command(&["status", "job"]).run().await.code, Some(0));
    assert_eq!(store.command(&["exec", "job", "--", "true"]).run().await.code, Some(75));
    assert_eq!(store.command(&["exec", "job", "-E", "9", "--", "true"]).run().await.code, Some(9));
    assert_eq!(Ran::of(running).await.code, Some(0));
    assert_eq!(store.command(&["status", "job"]).run().await.line(), "free");
}

#[rstest]
#[tokio::test]
async fn ten_processes_that_increment_a_counter_lose_nothing(
    #[values(Backend::Local, Backend::Redis)] backend: Backend,
) {
    const TIMES: usize = 100;
    let store = Arc::new(backend.start().await);
    let folder = tempfile::tempdir().unwrap();
    let counter = folder.path().join("counter");
    std::fs::write(&counter, "0").unwrap();
    let script = format!("n=$(cat {0}); echo $((n + 1)) > {0}", counter.display());
    let mut workers = JoinSet::new();
    for _ in 0..10 {
        let (store, script) = (store.clone(), script.clone());
        workers.spawn(async move {
            for _ in 0..TIMES {
                let exec = ["exec", "counter", "--wait", "2min", "--", "sh", "-c", &script];
                let ran = store.command(&exec).run().await;
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
#[case::killed(&["sh", "-c", "kill -KILL $$"], 137)]
#[case::ended_by_a_signal_of_its_own(&["sh", "-c", "kill -USR1 $$"], 138)]
#[case::not_found(&["/no/such/command"], 127)]
#[case::not_executable(&["/etc/passwd"], 126)]
#[tokio::test]
async fn it_exits_as_its_command_does(#[case] command: &[&str], #[case] code: i32) {
    let ran = Command::new(&[&["exec", "job", "--"], command].concat()).run().await;
    assert_eq!(ran.code, Some(code), "{ran:?}");
}

#[rstest]
#[tokio::test]
async fn a_command_that_cannot_run_leaves_no_lock(#[values(Backend::Local, Backend::Redis)] backend: Backend) {
    let store = backend.start().await;
    store.command(&["exec", "job", "--min-hold", "1min", "--", "/no/such/command"]).run().await;
    assert_eq!(store.command(&["status", "job"]).run().await.line(), "free");
}

#[rstest]
#[tokio::test]
async fn it_dies_of_what_its_command_died_of(#[values("INT", "QUIT", "TERM", "HUP")] signal: &str) {
    let ran = Command::new(&["exec", "job", "--", "sh", "-c", &format!("kill -{signal} $$")]).run().await;
    assert_eq!(ran.signal.map(|signal| signal.as_str().to_owned()), Some(format!("SIG{signal}")), "{ran:?}");
}

#[rstest]
#[case::interrupt(Signal::SIGINT, None)]
#[case::terminate(Signal::SIGTERM, None)]
#[case::hang_up(Signal::SIGHUP, None)]
#[case::quit(Signal::SIGQUIT, None)]
#[case::user_1(Signal::SIGUSR1, Some(138))]
#[case::user_2(Signal::SIGUSR2, Some(140))]
#[tokio::test]
async fn a_signal_reaches_the_command_and_the_lock_is_released(
    #[case] signal: Signal,
    #[case] code: Option<i32>,
    #[values(Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    let running = store.command(&["exec", "job", "--", "sleep", "30"]).spawn();
    until(async || store.entry("job").await.is_some()).await;
    send(&running, signal);
    let ran = Ran::of(running).await;
    assert_eq!((ran.code, ran.signal), (code, Some(signal).filter(|_| code.is_none())));
    assert_eq!(store.command(&["status", "job"]).run().await.line(), "free");
}

#[rstest]
#[tokio::test]
async fn a_signal_ends_a_command_that_is_stopped(
    #[values(Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT)] signal: Signal,
) {
    let running =
        Running::start_with_ttl("1h", "echo $$ > $0/id; cd $0; touch beat beat.below; exec sleep 60", &[]).await;
    kill(running.command(), Signal::SIGSTOP).unwrap();
    send(&running.locker, signal);
    assert_eq!(running.ended().await.signal, Some(signal));
}

#[rstest]
#[case::exec(&["exec", "job", "--wait", "1h", "--", "true"])]
#[case::lock(&["lock", "job", "--wait", "1h"])]
#[tokio::test]
async fn a_signal_ends_a_wait_at_once(
    #[case] arguments: &[&str],
    #[values(Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    store.command(&["lock", "job", "--ttl", "1h"]).run().await;
    let waiting = store.command(arguments).spawn();
    until(async || store.queued("job").await == 1).await;
    send(&waiting, Signal::SIGTERM);
    assert_eq!(Ran::of(waiting).await.signal, Some(Signal::SIGTERM));
    assert_eq!(store.queued("job").await, 0);
}

#[rstest]
#[tokio::test]
async fn a_caller_that_waits_forever_is_granted_the_lock_after_a_release(
    #[values(Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    let lease = store.take("job", LONG).await;
    let waiting = store.command(&["exec", "job", "--wait", "forever", "--", "echo", "done"]).spawn();
    until(async || store.queued("job").await == 1).await;
    store.locker.unlock("job", &lease.token).await.unwrap();
    assert_eq!(Ran::of(waiting).await.line(), "done");
}

/// Sends a signal again and again until the process has ended, and answers what it died of.
async fn hurried(mut child: tokio::process::Child, signal: Signal) -> Option<i32> {
    until(async || {
        let has_ended = child.try_wait().unwrap().is_some();
        if !has_ended {
            send(&child, signal);
        }
        has_ended
    })
    .await;
    std::os::unix::process::ExitStatusExt::signal(&child.wait().await.unwrap())
}

#[tokio::test]
async fn a_second_signal_ends_a_waiter_whose_server_hangs() {
    let server = RedisServer::start().await;
    Command::on(&server, &["lock", "job", "--ttl", "1h"]).run().await;
    let waiting = Command::on(&server, &["exec", "job", "--wait", "1h", "--", "true"]).spawn();
    until(async || server.queued("job").await == 1).await;
    kill(server.pid(), Signal::SIGSTOP).unwrap();
    send(&waiting, Signal::SIGTERM);
    assert_eq!(hurried(waiting, Signal::SIGINT).await, Some(Signal::SIGINT as i32));
}

#[tokio::test]
async fn a_second_signal_ends_a_release_on_a_server_that_hangs() {
    let running =
        Running::start_with_ttl("1h", "echo $$ > $0/id; cd $0; touch beat beat.below; exec sleep 60", &[]).await;
    kill(running.server.pid(), Signal::SIGSTOP).unwrap();
    kill(running.command(), Signal::SIGKILL).unwrap();
    assert_eq!(hurried(running.locker, Signal::SIGTERM).await, Some(Signal::SIGTERM as i32));
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
