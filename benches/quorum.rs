//! Locks on a quorum of three servers, in turns with those of `rslock`: pairs of lock and unlock, hand-offs with all members and with one that does not
//! answer, and rounds of simultaneous callers in which no caller was granted.

#![allow(clippy::expect_used, missing_docs, reason = "what fails here ends the measurement")]

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use locker_benches::{Server, median};
use locker_host::{LockOptions, LockOutcome, Locker, Quorum, QuorumMember, Redis};
use rslock::LockManager;
use tokio::task::JoinSet;

const TTL: Duration = Duration::from_secs(60);
const TIME: Duration = Duration::from_secs(3);
const ROUNDS: usize = 200;

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
        println!("hand-offs between {processes} processes: {:.0} /s", hand_offs(processes, 1, ours).await);
    }
    println!("hand-offs between 8 callers of a process: {:.0} /s", hand_offs(1, 8, ours).await);
    for callers in [2, 3, 5, 10] {
        let (mut own, mut peers) = (0, 0);
        for round in 0..ROUNDS {
            own += usize::from(!is_granted(callers, &format!("round-{round}"), ours).await);
            peers += usize::from(!is_granted_by_peer(callers, &format!("peer-{round}"), theirs).await);
        }
        let share = |rounds: usize| 100.0 * rounds as f64 / ROUNDS as f64;
        println!(
            "{callers} simultaneous callers, rounds without a grant: locker {:.1} %, rslock {:.1} %",
            share(own),
            share(peers)
        );
    }
    signal(&servers[2], "-STOP");
    println!("hand-offs between 8 processes, one member hangs: {:.0} /s", hand_offs(8, 1, ours).await);
    signal(&servers[2], "-CONT");
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

/// Hand-offs per second between callers that wait for one lock.
async fn hand_offs(processes: usize, callers: usize, locker: impl Fn() -> Locker) -> f64 {
    let (started, mut calls) = (Instant::now(), JoinSet::new());
    for locker in (0..processes).map(|_| locker()) {
        for _ in 0..callers {
            let locker = locker.clone();
            calls.spawn(async move {
                let mut grants = 0_u32;
                while started.elapsed() < TIME {
                    let options = LockOptions::from(TTL).wait(4 * TIME);
                    let lease =
                        locker.lock("turn", options).await.expect("a majority answers").granted().expect("its turn");
                    grants += 1;
                    locker.unlock("turn", &lease.token).await.expect("a majority answers");
                }
                grants
            });
        }
    }
    f64::from(calls.join_all().await.into_iter().sum::<u32>()) / started.elapsed().as_secs_f64()
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
