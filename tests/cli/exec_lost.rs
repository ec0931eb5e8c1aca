//! Commands that run for longer than their lock lasts, and what becomes of them when it is lost, or when a process dies.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use locker_host::LockOptions;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rstest::rstest;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::harness::{
    BEATING, Command, LONG, Ran, RedisServer, Running, STUBBORN, granted, send, until, waiting_options,
};

const TTL: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_command_may_take_longer_than_its_locks_time_to_live() {
    let running = Running::start("cd $0; touch beat beat.below; sleep 3", &[]).await;
    sleep(2 * TTL).await;
    assert_eq!(Command::on(&running.server, &["lock", "job"]).run().await.code, Some(75));
    assert_eq!(running.ended().await.code, Some(0));
}

#[tokio::test]
async fn a_command_whose_lock_was_taken_away_is_asked_to_stop() {
    let running = Running::start(BEATING, &[]).await;
    running.take_away().await;
    until(async || running.was_asked() && running.is_dead().await).await;
    let ran = running.ended().await;
    assert_eq!(ran.code, Some(74));
    assert!(
        ran.stderr.contains(r#"lock "job": it was lost: the cache has it no more: stopping the command"#),
        "{ran:?}"
    );
}

#[tokio::test]
async fn a_command_that_does_not_stop_is_killed_with_all_that_it_started() {
    let running = Running::start(STUBBORN, &["--kill-after", "100ms"]).await;
    running.take_away().await;
    until(async || running.is_dead().await).await;
    assert!(running.was_asked());
    assert_eq!(running.ended().await.code, Some(74));
}

#[tokio::test]
async fn a_command_can_be_killed_at_once() {
    let running = Running::start(BEATING, &["--on-lost", "kill"]).await;
    running.take_away().await;
    until(async || running.is_dead().await).await;
    assert!(!running.was_asked());
    assert_eq!(running.ended().await.code, Some(74));
}

#[tokio::test]
async fn a_command_can_go_on_without_its_lock() {
    let running = Running::start("cd $0; touch beat beat.below; sleep 2; touch done", &["--on-lost", "ignore"]).await;
    running.take_away().await;
    let done = running.file("done");
    until(async || done.exists()).await;
    let ran = running.ended().await;
    assert_eq!(ran.code, Some(74), "{ran:?}");
    assert!(ran.stderr.contains("the command goes on without it"), "{ran:?}");
}

#[tokio::test]
async fn a_command_whose_store_is_gone_is_stopped_when_the_locks_time_is_nearly_up() {
    let mut running = Running::start(STUBBORN, &[]).await;
    running.server.kill();
    let killed = Instant::now();
    let ran = running.ended().await;
    assert_eq!(ran.code, Some(74), "{ran:?}");
    assert!(killed.elapsed() < LONG / 2, "{:?}", killed.elapsed());
    assert!(ran.stderr.contains("it could not be renewed in time: Redis at 127.0.0.1:"), "{ran:?}");
}

#[tokio::test]
async fn a_command_goes_on_when_its_store_is_back_in_time() {
    let mut running = Running::start_with_ttl("6s", "cd $0; touch beat beat.below; sleep 8", &[]).await;
    running.server.kill();
    running.server.start_again().await;
    let ran = running.ended().await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

#[tokio::test]
async fn a_command_is_stopped_at_the_end_of_its_maximum_hold() {
    let started = Instant::now();
    let ran = Command::new(&["exec", "job", "--ttl", "1s", "--max-hold", "2s", "--", "sleep", "60"]).run().await;
    assert_eq!(ran.code, Some(74));
    assert!(started.elapsed() > TTL && started.elapsed() < LONG / 2);
    assert!(ran.stderr.contains("held for as long as it may be"), "{ran:?}");
}

#[tokio::test]
async fn a_lock_can_be_kept_for_a_while_after_a_short_command() {
    let server = RedisServer::start().await;
    let exec = ["exec", "job", "--min-hold", "2s", "--", "true"];
    assert_eq!(Command::on(&server, &exec).run().await.code, Some(0));
    assert_eq!(Command::on(&server, &exec).run().await.code, Some(75));
    let started = Instant::now();
    granted(server.locker().lock("job", waiting_options()).await);
    assert!(started.elapsed() < LONG / 2);
}

#[tokio::test]
async fn a_command_that_dies_frees_the_lock_at_once() {
    let running = Running::start_with_ttl("1h", BEATING, &[]).await;
    let group = running.command();
    kill(group, Signal::SIGKILL).unwrap();
    let locker = running.server.locker();
    granted(locker.lock("job", waiting_options()).await);
    // What a command leaves behind when it ends is its own affair. It holds our streams open.
    nix::sys::signal::killpg(group, Signal::SIGKILL).unwrap();
    assert_eq!(running.ended().await.code, Some(137));
}

#[tokio::test]
async fn a_runner_that_is_killed_takes_its_command_with_it_and_the_lock_expires() {
    let running = Running::start(BEATING, &[]).await;
    send(&running.locker, Signal::SIGKILL);
    until(async || running.was_asked() && running.is_dead().await).await;
    let locker = running.server.locker();
    granted(locker.lock("job", LockOptions::from(LONG).wait(3 * TTL)).await);
}

#[tokio::test]
async fn a_runner_that_is_killed_takes_a_stubborn_command_with_it_too() {
    let running = Running::start(STUBBORN, &[]).await;
    send(&running.locker, Signal::SIGKILL);
    until(async || running.is_dead().await).await;
    assert!(running.was_asked());
}

#[tokio::test]
async fn a_runner_that_is_killed_leaves_no_token_behind() {
    let running = Running::start(&format!("echo $LOCKER_TOKEN_FILE > $0/file; {BEATING}"), &[]).await;
    let file = PathBuf::from(std::fs::read_to_string(running.file("file")).unwrap().trim());
    assert!(file.exists());
    send(&running.locker, Signal::SIGKILL);
    until(async || !file.exists()).await;
}

#[tokio::test]
async fn a_runner_that_is_stopped_past_the_time_to_live_does_not_leave_its_command_running() {
    let running = Running::start(STUBBORN, &[]).await;
    send(&running.locker, Signal::SIGSTOP);
    let locker = running.server.locker();
    granted(locker.lock("job", waiting_options()).await);
    assert!(running.was_asked() && running.is_dead().await, "another holds the lock");
    send(&running.locker, Signal::SIGCONT);
    assert_eq!(running.ended().await.code, Some(74));
}

/// A write that a resource takes only from the newest holder that it has heard of.
const GUARDED_WRITE: &str = "
    if tonumber(ARGV[1]) < tonumber(redis.call('HGET', KEYS[1], 'fence') or 0) then return 'refused' end
    redis.call('HSET', KEYS[1], 'fence', ARGV[1], 'value', ARGV[2])
    return 'written'";

/// Writes when it is told to, and then goes on as if nothing had happened.
const LATE: &str = r#"
    cd $0; echo $$ > id; touch beat beat.below
    until [ -e go ]; do sleep 0.01; done
    redis-cli -u "$LOCKER_CACHE" EVAL "$GUARDED_WRITE" 1 account "$LOCKER_FENCE" late > said
    sleep 60"#;

#[tokio::test]
async fn a_holder_that_was_paused_for_too_long_writes_in_vain() {
    let running = Running::start(&format!("GUARDED_WRITE=\"{GUARDED_WRITE}\"; {LATE}"), &[]).await;
    let command = running.command();
    let all =
        [vec![Pid::from_raw(running.locker.id().unwrap().try_into().unwrap()), command], running.guardians()].concat();
    // As when a whole machine is paused.
    all.iter().for_each(|id| kill(*id, Signal::SIGSTOP).unwrap());
    let next = granted(running.server.locker().lock("job", waiting_options()).await);
    let write = ["EVAL", GUARDED_WRITE, "1", "account", &next.fence.to_string(), "in time"];
    assert_eq!(running.server.run::<String>(&write).await, "written");
    std::fs::write(running.file("go"), "").unwrap();
    kill(command, Signal::SIGCONT).unwrap();
    until(async || std::fs::read_to_string(running.file("said")).is_ok_and(|said| said == "refused\n")).await;
    assert_eq!(running.server.run::<String>(&["HGET", "account", "value"]).await, "in time");
    // The first of them may end the others before they can be told.
    all.iter().for_each(|id| _ = kill(*id, Signal::SIGCONT));
    assert_eq!(running.ended().await.code, Some(74));
}

#[tokio::test]
async fn a_runner_that_is_killed_at_any_point_costs_at_most_its_time_to_live() {
    let server = RedisServer::start().await;
    let mut runs = JoinSet::new();
    for number in 0..12 {
        let (name, locker) = (format!("job {number}"), server.locker());
        let exec = ["exec", &name, "--ttl", "1s", "--", "sleep", "0.1"];
        let running = Command::on(&server, &exec).spawn();
        runs.spawn(async move {
            sleep(number * Duration::from_millis(25)).await;
            send(&running, Signal::SIGKILL);
            Ran::of(running).await;
            granted(locker.lock(&name, LockOptions::from(LONG).wait(3 * TTL)).await);
        });
    }
    assert_eq!(runs.join_all().await.len(), 12);
}

#[tokio::test]
async fn a_waiter_that_is_killed_does_not_hold_up_those_behind_it() {
    let server = RedisServer::start().await;
    let holder = server.locker();
    let lease = granted(holder.lock("job", LONG).await);
    let waiting = || Command::on(&server, &["exec", "job", "--wait", "1min", "--", "true"]).spawn();
    let (first, second) = (waiting(), waiting());
    until(async || server.queued("job").await == 2).await;
    send(&first, Signal::SIGKILL);
    until(async || server.channels().await.len() == 1).await;
    holder.unlock("job", lease.token).await.unwrap();
    assert_eq!(Ran::of(second).await.code, Some(0));
}

#[rstest]
#[case::more_time_to_stop_than_half_the_locks(&["--ttl", "10s", "--kill-after", "6s"], 64)]
#[case::at_least_more_than_at_most(&["--min-hold", "2s", "--max-hold", "1s"], 64)]
#[case::at_least_more_than_any_lock_may_last(&["--min-hold", "2days"], 78)]
#[case::to_wait_and_not_to_wait(&["--wait", "1s", "--no-wait"], 64)]
#[tokio::test]
async fn what_makes_no_sense_is_refused_before_anything_is_done(#[case] options: &[&str], #[case] code: i32) {
    let ran = Command::new(&[&["exec", "job"], options, &["--", "echo", "ran"]].concat()).run().await;
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(code), ""), "{ran:?}");
}
