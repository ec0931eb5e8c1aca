//! Running a command on one machine at a time.

use nix::sys::signal::{Signal, kill};
use rstest::rstest;

use crate::harness::{Backend, Command, LONG, Leaders, Monitored, RedisServer, STUBBORN, Store, granted, send, until};

/// Runs `locker lead` on a store, with a command that notes its fence and stays.
fn leader(store: &Store, options: &[&str], script: &str) -> Monitored {
    Monitored::start(store.command(&[&["lead", "job"], options, &["--", "sh", "-c", script]].concat()))
}

const STAY: &str = "echo $LOCKER_FENCE; exec sleep 60";

/// Takes the lock away from its holder.
async fn take_away(store: &Store) {
    let entry = store.entry("job").await.expect("the lock is held");
    _ = store.locker.unlock("job", entry.value).await.unwrap();
}

#[rstest]
#[case::done(&["true"], 0)]
#[case::failed(&["sh", "-c", "exit 42"], 42)]
#[case::ended_by_a_signal_of_its_own(&["sh", "-c", "kill -USR1 $$"], 138)]
#[case::not_found(&["/no/such/command"], 127)]
#[case::not_executable(&["/etc/passwd"], 126)]
#[tokio::test]
async fn a_leader_exits_as_its_command_does(#[case] command: &[&str], #[case] code: i32) {
    let ran = Command::new(&[&["lead", "job", "--"], command].concat()).run().await;
    assert_eq!(ran.code, Some(code), "{ran:?}");
}

#[rstest]
#[tokio::test]
async fn a_leader_says_that_it_leads_and_others_see_its_label(
    #[values(Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    let mut leader = leader(&store, &["--owner", "node 1"], STAY);
    let message = leader.says("leading").await;
    let holder = store.locker.inspect("job").await.unwrap().unwrap();
    assert_eq!(message, format!(r#"locker: leading "job" with fence {}"#, holder.fence));
    assert_eq!(holder.owner.as_deref(), Some("node 1"));
    send(&leader.child, Signal::SIGTERM);
    assert_eq!(leader.ended().await.signal, Some(Signal::SIGTERM));
}

#[rstest]
#[tokio::test]
async fn a_leader_that_lost_its_lock_starts_its_command_again_with_a_higher_fence(
    #[values(Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    let mut leader = leader(&store, &["--ttl", "1s"], STAY);
    for _ in 0..2 {
        leader.says("leading \"job\" with fence").await;
        take_away(&store).await;
        leader.says("it was lost: the cache has it no more: stopping the command").await;
        leader.says("leading \"job\" no longer: campaigning again").await;
    }
    leader.says("leading \"job\" with fence").await;
    send(&leader.child, Signal::SIGTERM);
    let ran = leader.ended().await;
    let fences: Vec<u64> = ran.stdout.lines().map(|fence| fence.parse().unwrap()).collect();
    assert!(fences.len() >= 2 && fences.is_sorted_by(|one, next| one < next), "{ran:?}");
}

#[rstest]
#[tokio::test]
async fn leaders_that_end_hand_over_in_the_order_in_which_they_came(
    #[values(Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    let leaders = Leaders::on(store.name()).await;
    let mut waiting = Vec::new();
    for (number, name) in ["one", "two", "three"].into_iter().enumerate() {
        waiting.push((name, leaders.start(name, &[])));
        until(async || store.entry("job").await.is_some() && store.queued("job").await == number as u64).await;
    }
    for (name, leader) in waiting {
        leaders.led_by(name).await;
        leader.end();
        assert_eq!(leader.ended().await.code, Some(7));
    }
    assert!(leaders.log().await.iter().all(|write| write.accepted));
}

#[rstest]
#[tokio::test]
async fn another_leads_after_a_leader_was_killed(#[values(Backend::Local, Backend::Redis)] backend: Backend) {
    let store = backend.start().await;
    let leaders = Leaders::on(store.name()).await;
    let first = leaders.start("one", &["--ttl", "2s"]);
    let fence = leaders.led_by("one").await;
    let second = leaders.start("two", &["--ttl", "2s"]);
    until(async || store.queued("job").await == 1).await;
    kill(first.id(), Signal::SIGKILL).unwrap();
    assert!(leaders.led_by("two").await > fence);
    second.end();
    assert_eq!(second.ended().await.code, Some(7));
    assert!(leaders.log().await.iter().all(|write| write.accepted), "two led at a time");
}

#[rstest]
#[tokio::test]
async fn a_signal_ends_a_standby(#[values(Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP)] signal: Signal) {
    let store = Backend::Redis.start().await;
    store.take("job", LONG).await;
    let standby = leader(&store, &[], STAY);
    until(async || store.queued("job").await == 1).await;
    send(&standby.child, signal);
    assert_eq!(standby.ended().await.signal, Some(signal));
    until(async || store.queued("job").await == 0).await;
}

#[tokio::test]
async fn a_signal_ends_a_leader_that_campaigns_again() {
    let store = Backend::Redis.start().await;
    let mut leader = leader(&store, &["--ttl", "1s"], STAY);
    leader.says("leading \"job\" with fence").await;
    take_away(&store).await;
    granted(store.locker.lock("job", LONG).await);
    leader.says("campaigning again").await;
    until(async || store.queued("job").await == 1).await;
    // None of these is meant to end it.
    for signal in [Signal::SIGTSTP, Signal::SIGCONT, Signal::SIGCHLD] {
        send(&leader.child, signal);
    }
    send(&leader.child, Signal::SIGTERM);
    assert_eq!(leader.ended().await.signal, Some(Signal::SIGTERM));
}

#[tokio::test]
async fn a_signal_that_comes_while_a_lost_command_stops_ends_the_leader() {
    let (store, folder) = (Backend::Redis.start().await, tempfile::tempdir().unwrap());
    let script = format!("set -- {0}; cd {0}; {1}", folder.path().display(), STUBBORN.replace("cd $0;", ""));
    let mut leader = leader(&store, &["--ttl", "20s", "--kill-after", "5s"], &script);
    until(async || folder.path().join("beat").exists()).await;
    take_away(&store).await;
    leader.says("stopping the command").await;
    send(&leader.child, Signal::SIGTERM);
    assert_eq!(leader.ended().await.signal, Some(Signal::SIGTERM));
}

#[tokio::test]
async fn a_leader_whose_command_reloaded_campaigns_again_after_a_loss() {
    let store = Backend::Redis.start().await;
    let mut leader =
        leader(&store, &["--ttl", "1s"], "trap 'echo reloaded >&2' HUP; echo ready >&2; while :; do sleep 0.02; done");
    leader.says("ready").await;
    send(&leader.child, Signal::SIGHUP);
    leader.says("reloaded").await;
    take_away(&store).await;
    leader.says("campaigning again").await;
    leader.says("leading \"job\" with fence").await;
    send(&leader.child, Signal::SIGTERM);
    assert_eq!(leader.ended().await.signal, Some(Signal::SIGTERM));
}

#[tokio::test]
async fn a_quiet_leader_says_what_went_wrong_only() {
    let store = Backend::Redis.start().await;
    let ran = store.command(&["lead", "job", "--quiet", "--", "true"]).run().await;
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (Some(0), "", ""));
}

#[tokio::test]
async fn a_leader_campaigns_while_its_store_is_away() {
    let mut server = RedisServer::start().await;
    server.kill();
    let mut leader = Monitored::start(Command::on(&server, &["lead", "job", "--", "echo", "led"]));
    leader.says("still waiting for the cache and the lock").await;
    server.start_again().await;
    let ran = leader.ended().await;
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "led\n"), "{ran:?}");
}

#[tokio::test]
async fn a_refusal_ends_a_campaign() {
    let server = RedisServer::start().await;
    () = server.run(&["ACL", "SETUSER", "default", "-@all", "+ping"]).await;
    let ran = Command::on(&server, &["lead", "job", "--json", "--", "echo", "led"]).run().await;
    assert_eq!((ran.code, ran.json()["kind"].as_str()), (Some(78), Some("denied")), "{ran:?}");
}

#[rstest]
#[case::a_second_leader_beside_the_next(&["--on-lost", "ignore", "--", "true"])]
#[case::no_command(&[])]
#[case::more_time_to_stop_than_half_the_locks(&["--ttl", "10s", "--kill-after", "6s", "--", "true"])]
#[tokio::test]
async fn what_makes_no_sense_is_wrong_usage(#[case] options: &[&str]) {
    assert_eq!(Command::new(&[&["lead", "job"], options].concat()).run().await.code, Some(64));
}
