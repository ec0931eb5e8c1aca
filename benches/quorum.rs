//! Locks on a quorum of three servers, in turns with those of `rslock`: pairs of lock and unlock, hand-offs with all members and with one that does not
//! answer, and rounds of simultaneous callers in which no caller was granted.

#![allow(clippy::expect_used, missing_docs, reason = "what fails here ends the measurement")]

use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use locker_benches::{Server, median, processor_time};
use locker_host::{LockOptions, LockOutcome, Locker, Quorum, QuorumMember, Redis};
use rslock::LockManager;
use tokio::sync::watch;
use tokio::task::JoinSet;

const TTL: Duration = Duration::from_secs(60);
const TIME: Duration = Duration::from_secs(3);
const ROUNDS: usize = 200;
/// How long a caller works under the lock.
const HOLD: Duration = Duration::from_millis(2);

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let servers: Vec<_> = (0..3).map(|_| Server::start()).collect();
    let urls: Vec<_> = servers.iter().map(Server::url).collect();
    let (ours, theirs) = (|| locker(&urls), || LockManager::new(urls.clone()));
    let mut rates = [vec![], vec![]];
    for _ in 0..5 {
        rates[0].push(pairs(&ours()).await);
        rates[1].push(peer_pairs(&theirs()).await);
    }
    let [locker, peer] = rates.map(median);
    println!("one caller: locker {locker:.0} pairs/s, rslock {peer:.0} pairs/s");
    for processes in [2, 8] {
        println!("hand-offs between {processes} processes: {:.2} ms", hand_offs(processes, 1, ours).await);
    }
    println!("hand-offs between 8 callers of a process: {:.2} ms", hand_offs(1, 8, ours).await);
    for callers in [2, 3, 5, 10] {
        let (mut own, mut peers) = (0, 0);
        for round in 0..ROUNDS {
            own += usize::from(!is_granted(callers, &format!("round-{callers}-{round}"), ours).await);
            peers += usize::from(!is_granted_by_peer(callers, &format!("peer-{callers}-{round}"), theirs).await);
        }
        let share = |rounds: usize| 100.0 * rounds as f64 / ROUNDS as f64;
        println!(
            "{callers} simultaneous callers, rounds without a grant: locker {:.1} %, rslock {:.1} %",
            share(own),
            share(peers)
        );
    }
    signal(&servers[2], "-STOP");
    println!("hand-offs between 8 processes, one member hangs: {:.2} ms", hand_offs(8, 1, ours).await);
    signal(&servers[2], "-CONT");
    clean_up(servers, &urls).await;
}

/// The processor time and the memory that 1,000 calls per second without a majority cost, and what is left when the members are back.
async fn clean_up(mut servers: Vec<Server>, urls: &[String]) {
    let (locker, seconds) = (locker(urls), 20);
    _ = locker.inspect("warm").await;
    let ends: Vec<_> = servers.drain(1..).map(|server| server.port()).collect();
    let (before, used, started) = (resident(), processor_time("self"), Instant::now());
    let mut calls = JoinSet::new();
    for number in 0..1000 * seconds {
        tokio::time::sleep_until((started + Duration::from_millis(number)).into()).await;
        let locker = locker.clone();
        calls.spawn(async move { locker.lock(&format!("away-{number}"), TTL).await.is_err() });
    }
    let failed = calls.join_all().await.into_iter().filter(|failed| *failed).count();
    let share = (processor_time("self") - used).as_secs_f64() / started.elapsed().as_secs_f64();
    println!(
        "without a majority: {failed} calls failed, {share:.2} of a core, {:.1} MiB",
        (resident() - before) as f64 / 1024.0
    );
    let (used, started) = (processor_time("self"), Instant::now());
    tokio::time::sleep(Duration::from_secs(10)).await;
    let share = (processor_time("self") - used).as_secs_f64() / started.elapsed().as_secs_f64();
    println!("after them: {share:.2} of a core for the clean-up");
    let _back: Vec<_> = ends.iter().map(|port| Server::start_on(port)).collect();
    let started = Instant::now();
    while locker.list().await.map_or(true, |locks| !locks.is_empty()) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    println!("cleaned up {:.1?} after the members were back", started.elapsed());
}

/// The memory of this process that is in use, in KiB.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("this is Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux says");
    line.trim().trim_end_matches(" kB").parse().expect("it is a number")
}

fn locker(urls: &[String]) -> Locker {
    let member = |url: &String| Arc::new(Redis::open(url).expect("a URL")) as Arc<dyn QuorumMember>;
    let quorum = Quorum::new(urls.iter().map(member).collect()).expect("three members");
    Locker::new(quorum).expect("the component runs")
}

fn signal(server: &Server, signal: &str) {
    Command::new("kill").args([signal, &server.pid()]).status().expect("kill runs");
}

/// Pairs per second.
async fn pairs(locker: &Locker) -> f64 {
    let (mut pairs, mut started) = (0, Instant::now());
    // The first pairs connect.
    for warm in [10, u32::MAX] {
        (pairs, started) = (0, Instant::now());
        while pairs < warm && started.elapsed() < TIME / 3 {
            let lease = locker.lock("pair", TTL).await.expect("the servers answer").granted().expect("it is free");
            locker.unlock("pair", &lease.token).await.expect("the servers answer");
            pairs += 1;
        }
    }
    f64::from(pairs) / started.elapsed().as_secs_f64()
}

async fn peer_pairs(manager: &LockManager) -> f64 {
    let (mut pairs, mut started) = (0, Instant::now());
    for warm in [10, u32::MAX] {
        (pairs, started) = (0, Instant::now());
        while pairs < warm && started.elapsed() < TIME / 3 {
            let lock = manager.lock("peer-pair", TTL).await.expect("it is free");
            manager.unlock(&lock).await;
            pairs += 1;
        }
    }
    f64::from(pairs) / started.elapsed().as_secs_f64()
}

/// The time from a release until another caller knows that it has the lock, in ms. All others wait for it.
async fn hand_offs(processes: usize, callers: usize, locker: impl Fn() -> Locker) -> f64 {
    let (started, mut calls, turn) = (Instant::now(), JoinSet::new(), Arc::new(watch::Sender::new(usize::MAX)));
    let (released, took) = (Arc::<Mutex<Option<Instant>>>::default(), Arc::<Mutex<Vec<Duration>>>::default());
    for (process, locker) in (0..processes).map(|_| locker()).enumerate() {
        for caller in 0..callers {
            let (locker, turn, own) = (locker.clone(), turn.clone(), process * callers + caller);
            let (released, took) = (released.clone(), took.clone());
            calls.spawn(async move {
                while started.elapsed() < TIME {
                    let options = LockOptions::from(TTL).wait(4 * TIME);
                    let lock = locker.lock("turn", options).await.expect("a majority answers");
                    let lease = lock.granted().expect("its turn comes");
                    let last = released.lock().expect("it is sound").take();
                    took.lock().expect("it is sound").extend(last.map(|last| last.elapsed()));
                    turn.send_replace(own);
                    tokio::time::sleep(HOLD).await;
                    *released.lock().expect("it is sound") = Some(Instant::now());
                    locker.unlock("turn", &lease.token).await.expect("a majority answers");
                    let mut next = turn.subscribe();
                    let next = next.wait_for(|holder| *holder != own);
                    _ = tokio::time::timeout((started + TIME).saturating_duration_since(Instant::now()), next).await;
                }
            });
        }
    }
    calls.join_all().await;
    median(std::mem::take(&mut took.lock().expect("it is sound"))).as_secs_f64() * 1000.0
}

/// Whether one of several simultaneous callers is granted a lock that was free.
async fn is_granted(callers: usize, name: &str, locker: impl Fn() -> Locker) -> bool {
    let mut calls = JoinSet::new();
    for locker in (0..callers).map(|_| locker()) {
        let name = name.to_owned();
        calls.spawn(async move {
            // Connected, so that all of them come at once.
            _ = locker.inspect(&name).await;
            tokio::task::yield_now().await;
            matches!(locker.lock(&name, TTL).await, Ok(LockOutcome::Granted(_)))
        });
    }
    calls.join_all().await.contains(&true)
}

async fn is_granted_by_peer(callers: usize, name: &str, manager: impl Fn() -> LockManager) -> bool {
    let mut calls = JoinSet::new();
    for mut manager in (0..callers).map(|_| manager()) {
        let name = name.to_owned();
        // One attempt, as ours.
        manager.set_retry(0, Duration::ZERO);
        calls.spawn(async move {
            manager.lock("warm", TTL).await.ok();
            manager.lock(name.as_str(), TTL).await.is_ok()
        });
    }
    calls.join_all().await.contains(&true)
}
