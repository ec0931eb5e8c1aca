//! Leaders under faults: never two at a time, as what they guard sees it.

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use rstest::rstest;
use tokio::process::Child;

use crate::harness::{Backend, Command, Leader, Leaders, RedisServer, Sentinels, until};

const TTL: &[&str] = &["--ttl", "4s"];

/// Kills a leader as a crash would, and starts it again.
async fn crash(leaders: &Leaders, leader: &mut Leader, name: &str) {
    kill(leader.id(), Signal::SIGKILL).unwrap();
    *leader = leaders.start(name, TTL);
}

#[tokio::test]
async fn one_of_three_leads_at_a_time_through_kills_and_a_failover_of_the_server() {
    let mut sentinels = Sentinels::start().await;
    let leaders = Leaders::on(sentinels.url()).await;
    let names = ["one", "two", "three"];
    let mut all = names.map(|name| leaders.start(name, TTL));
    let number = |name: &str| names.iter().position(|known| *known == name).unwrap();
    let (mut leader, mut fence) = leaders.led_after(0).await;
    for _ in 0..3 {
        crash(&leaders, &mut all[number(&leader)], &leader).await;
        (leader, fence) = leaders.led_after(fence).await;
    }
    until(async || sentinels.replica.stored("job").await.is_some_and(|(_, stored)| stored == fence)).await;
    sentinels.primary.kill();
    sentinels.replica.replicates("role:master").await;
    // The leader goes on, or another leads if the failover took longer than the lease.
    let last = leaders.log().await.last().unwrap().clone();
    fence = last.fence;
    crash(&leaders, &mut all[number(&last.leader)], &last.leader).await;
    (leader, fence) = leaders.led_after(fence).await;
    all[number(&leader)].end();
    let (next, _) = leaders.led_after(fence).await;
    assert_ne!(next, leader);
    let log = leaders.log().await;
    assert!(log.iter().all(|write| write.accepted), "a leader wrote after the next one: {log:?}");
    for leader in &all {
        leader.end();
    }
    for leader in all {
        leader.ended().await;
    }
}

#[tokio::test]
async fn leaders_go_on_after_a_restart_of_their_server() {
    let mut server = RedisServer::start_with(|_| ["--appendonly", "yes"].map(str::to_owned).into()).await;
    let leaders = Leaders::on(server.url()).await;
    let mut all = ["one", "two"].map(|name| leaders.start(name, TTL));
    let (_, fence) = leaders.led_after(0).await;
    until(async || server.queued("job").await == 1).await;
    server.kill();
    for leader in &mut all {
        // The one that waits says so, and the one that leads once it has lost.
        leader.locker.says("still waiting").await;
    }
    server.start_again().await;
    leaders.led_after(fence).await;
    let log = leaders.log().await;
    assert!(log.iter().all(|write| write.accepted), "a leader wrote after the next one: {log:?}");
}

/// The way that is often written: a key that expires, renewed without a look at whose it is.
const NAIVE: &str = r#"
    until [ "$(redis-cli -u "$SERVER" SET leader "$0" NX PX 1000)" = OK ]; do sleep 0.05; done
    while :; do
        redis-cli -u "$SERVER" PEXPIRE leader 1000
        redis-cli -u "$SERVER" RPUSH log "$0"
        sleep 0.02
    done"#;

fn naive_leader(server: &RedisServer, name: &str) -> Child {
    let shell = Command::of("setsid".into(), &["sh", "-c", NAIVE, name]);
    shell.env("SERVER", &server.url()).spawn()
}

#[tokio::test]
async fn a_leader_without_a_fence_that_was_paused_works_beside_the_next_one() {
    let server = RedisServer::start().await;
    let log = async || server.run::<Vec<String>>(&["LRANGE", "log", "0", "-1"]).await;
    let group = |leader: &Child| Pid::from_raw(leader.id().unwrap().try_into().unwrap());
    let first = naive_leader(&server, "one");
    until(async || log().await.contains(&"one".to_owned())).await;
    let second = naive_leader(&server, "two");
    killpg(group(&first), Signal::SIGSTOP).unwrap();
    until(async || log().await.contains(&"two".to_owned())).await;
    killpg(group(&first), Signal::SIGCONT).unwrap();
    // Both go on for as long as one looks.
    for _ in 0..2 {
        for name in ["one", "two"] {
            let before = log().await.len();
            until(async || log().await[before..].contains(&name.to_owned())).await;
        }
    }
    for leader in [first, second] {
        killpg(group(&leader), Signal::SIGKILL).unwrap();
    }
}

/// What is paused.
#[derive(Clone, Copy, Debug)]
enum Paused {
    Runner,
    Machine,
}

impl Paused {
    fn send(self, leader: &Leader, signal: Signal) {
        match self {
            Self::Runner => kill(leader.id(), signal).unwrap(),
            Self::Machine => leader.send_all(signal),
        }
    }
}

#[rstest]
#[tokio::test]
async fn a_leader_that_was_paused_is_stopped_and_its_writes_are_refused(
    #[values(Backend::Local, Backend::Redis)] backend: Backend,
    #[values(Paused::Runner, Paused::Machine)] paused: Paused,
) {
    let store = backend.start().await;
    let leaders = Leaders::on(store.name()).await;
    let options = ["--ttl", "1s"];
    let mut first = leaders.start("one", &options);
    let fence = leaders.led_by("one").await;
    let _second = leaders.start("two", &options);
    until(async || store.queued("job").await == 1).await;
    paused.send(&first, Signal::SIGSTOP);
    assert!(leaders.led_by("two").await > fence);
    paused.send(&first, Signal::SIGCONT);
    first.locker.says("leading \"job\" no longer: campaigning again").await;
    let log = leaders.log().await;
    let next = log.iter().position(|write| write.leader == "two").unwrap();
    assert!(!log[next..].iter().any(|write| write.accepted && write.leader == "one"), "{log:?}");
}
