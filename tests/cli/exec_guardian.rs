//! The guardian of a command: what it does when it or the runner is stopped or killed, before, while and after the command starts.

use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rstest::rstest;
use tokio::time::sleep;

use crate::harness::{BEATING, Command, Ran, Running, STUBBORN, granted, send, until, waiting_options};

const TTL: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_command_outlives_its_guardian_and_is_stopped_all_the_same() {
    let running = Running::start(BEATING, &[]).await;
    let [guardian] = running.guardians()[..] else { panic!("there is one guardian") };
    kill(guardian, Signal::SIGKILL).unwrap();
    sleep(TTL).await;
    assert!(!running.is_dead().await && !running.was_asked());
    running.take_away().await;
    until(async || running.was_asked()).await;
    assert_eq!(running.ended().await.code, Some(74));
}

#[tokio::test]
async fn no_guardian_is_left_behind() {
    let running = Running::start("cd $0; echo $$ > id; touch beat beat.below; sleep 1", &[]).await;
    let guardians = running.guardians();
    assert_eq!(guardians.len(), 1);
    assert_eq!(running.ended().await.code, Some(0));
    assert!(kill(guardians[0], None).is_err(), "it is still there");
}

#[rstest]
#[case::as_soon_as_it_is_there(Duration::ZERO)]
#[case::while_the_command_starts(Duration::from_micros(300))]
#[case::when_the_command_runs(Duration::from_millis(20))]
#[tokio::test]
async fn a_guardian_that_is_killed_changes_nothing(#[case] after: Duration) {
    for _ in 0..10 {
        let running = Command::new(&["exec", "job", "--", "sh", "-c", "sleep 0.1; exit 7"]).spawn();
        let guardian = first_child(&running).await;
        std::thread::sleep(after);
        kill(guardian, Signal::SIGKILL).unwrap();
        let ran = Ran::of(running).await;
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(7), ""));
    }
}

/// The guardian is forked first.
async fn first_child(runner: &tokio::process::Child) -> Pid {
    let id = runner.id().unwrap();
    let children = format!("/proc/{id}/task/{id}/children");
    loop {
        let children = std::fs::read_to_string(&children).unwrap();
        if let Some(child) = children.split_whitespace().next() {
            return Pid::from_raw(child.parse().unwrap());
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_guardian_that_was_stopped_for_long_spares_a_command_that_has_its_lock() {
    let running = Running::start(BEATING, &[]).await;
    let [guardian] = running.guardians()[..] else { panic!("there is one guardian") };
    kill(guardian, Signal::SIGSTOP).unwrap();
    sleep(3 * TTL).await;
    kill(guardian, Signal::SIGCONT).unwrap();
    sleep(TTL).await;
    assert!(!running.is_dead().await && !running.was_asked());
    // It still does its work.
    send(&running.locker, Signal::SIGKILL);
    until(async || running.is_dead().await).await;
}

#[tokio::test]
async fn a_runner_that_was_stopped_for_a_moment_keeps_its_command() {
    let running = Running::start_with_ttl("4s", BEATING, &[]).await;
    for _ in 0..3 {
        send(&running.locker, Signal::SIGSTOP);
        sleep(TTL).await;
        send(&running.locker, Signal::SIGCONT);
        sleep(TTL).await;
    }
    assert!(!running.is_dead().await && !running.was_asked());
    running.end().await;
}

#[tokio::test]
async fn a_runner_that_is_killed_while_it_is_stopped_takes_its_command_with_it() {
    let running = Running::start_with_ttl("1h", STUBBORN, &["--kill-after", "100ms"]).await;
    send(&running.locker, Signal::SIGSTOP);
    send(&running.locker, Signal::SIGKILL);
    until(async || running.is_dead().await).await;
    assert!(running.was_asked());
}

#[tokio::test]
async fn a_command_that_is_stopped_is_asked_and_continued_when_its_runner_is_killed() {
    // The system itself ends a stopped group without a parent by SIGHUP.
    let script = format!("trap '' HUP; {BEATING}");
    let running = Running::start_with_ttl("1h", &script, &["--kill-after", "1min"]).await;
    kill(running.command(), Signal::SIGSTOP).unwrap();
    send(&running.locker, Signal::SIGKILL);
    until(async || running.was_asked()).await;
    running.end().await;
}

#[tokio::test]
async fn a_command_is_killed_before_the_lease_ends_and_no_later() {
    let running = Running::start_with_ttl("2s", STUBBORN, &["--kill-after", "500ms"]).await;
    send(&running.locker, Signal::SIGSTOP);
    let beat = |file: &Path| file.metadata().unwrap().modified().unwrap();
    let locker = running.server.locker();
    granted(locker.lock("job", waiting_options()).await);
    let granted = std::time::SystemTime::now();
    assert!(beat(&running.file("beat")) < granted && beat(&running.file("beat.below")) < granted);
    assert!(running.was_asked() && running.is_dead().await);
    send(&running.locker, Signal::SIGCONT);
    assert_eq!(running.ended().await.code, Some(74));
}

#[tokio::test]
async fn a_runner_whose_messages_are_not_read_stops_its_command_in_time() {
    let (running, _reader) = Running::start_with_full_stderr(STUBBORN, &["--ttl", "20s", "--kill-after", "1s"]).await;
    running.take_away().await;
    until(async || running.was_asked()).await;
    let asked = Instant::now();
    until(async || running.is_dead().await).await;
    assert!(asked.elapsed() < 15 * TTL, "{:?}", asked.elapsed());
    assert_eq!(running.ended().await.code, Some(74), "and it ends, though its message is not read");
}

#[tokio::test]
async fn a_runner_whose_messages_are_not_read_passes_signals_on() {
    let options = ["--ttl", "20s", "--on-lost", "ignore"];
    let (running, _reader) = Running::start_with_full_stderr(BEATING, &options).await;
    running.take_away().await;
    let channels = async || running.server.run::<String>(&["INFO", "commandstats"]).await;
    let extensions = channels().await;
    until(async || channels().await != extensions).await;
    send(&running.locker, Signal::SIGTERM);
    until(async || running.was_asked()).await;
    assert_eq!(running.ended().await.code, Some(74));
}
