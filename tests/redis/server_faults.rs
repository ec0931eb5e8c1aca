//! Many clients that contend for one lock while the server is killed and started again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use locker_host::{LockOptions, LockOutcome, Locker, Quorum, QuorumMember, Redis};
use rstest::rstest;
use tokio::task::JoinSet;

use crate::harness::{Cluster, Command, Protected, RedisServer, Sentinels, until};

const CLIENTS: usize = 64;
const TTL: Duration = Duration::from_secs(2);

async fn client(locker: Locker, seen: Arc<Mutex<Protected>>, over: Arc<AtomicBool>) {
    while !over.load(Ordering::Relaxed) {
        let Ok(LockOutcome::Granted(lease)) = locker.lock("job", LockOptions::from(TTL).wait(TTL)).await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        if seen.lock().unwrap().enter(&lease) {
            tokio::task::yield_now().await;
            seen.lock().unwrap().leave(&lease);
        }
        // If the server is gone, the lock ends by itself.
        _ = locker.unlock("job", &lease.token).await;
    }
}

/// Clients that contend while something happens to their servers. Returns how often one was let in beside another.
async fn contend(lockers: Vec<Locker>, disturb: impl AsyncFnOnce(&Mutex<Protected>)) -> usize {
    let (seen, over) = (Arc::<Mutex<Protected>>::default(), Arc::<AtomicBool>::default());
    let mut clients = JoinSet::new();
    for locker in &lockers {
        for _ in 0..CLIENTS / lockers.len() {
            clients.spawn(client(locker.clone(), seen.clone(), over.clone()));
        }
    }
    progress(&seen).await;
    disturb(&seen).await;
    over.store(true, Ordering::Relaxed);
    clients.join_all().await;
    let locker = &lockers[0];
    let ttl = async || Some(locker.inspect("job").await.ok()?.and_then(|holder| holder.ttl).unwrap_or_default());
    let mut left = None;
    until(async || {
        left = ttl().await;
        left.is_some()
    })
    .await;
    assert!(left.unwrap() <= TTL, "{left:?}");
    let seen = seen.lock().unwrap();
    assert!(seen.repeated.is_empty(), "{:?}", seen.repeated);
    seen.overlaps.len()
}

/// Waits until the clients have got on with it.
async fn progress(seen: &Mutex<Protected>) {
    let before = seen.lock().unwrap().grants();
    until(async || seen.lock().unwrap().grants() > before + 50).await;
}

fn settings(keeps: bool) -> Vec<String> {
    let log: &[&str] = if keeps { &["--appendonly", "yes", "--appendfsync", "always"] } else { &[] };
    log.iter().map(ToString::to_string).collect()
}

fn eight(locker: impl Fn() -> Locker) -> Vec<Locker> {
    (0..8).map(|_| locker()).collect()
}

#[rstest]
#[case::that_forgets(false)]
#[case::that_keeps_what_it_confirmed(true)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_again_and_again_lets_no_two_callers_in(#[case] keeps: bool) {
    let mut server = RedisServer::start_with(|_| settings(keeps)).await;
    let overlaps = contend(eight(|| server.locker()), async |seen| {
        for _ in 0..4 {
            server.kill();
            server.start_again().await;
            progress(seen).await;
        }
    })
    .await;
    assert!(!keeps || overlaps == 0, "{overlaps} were let in beside another");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quorum_whose_servers_are_killed_one_after_the_other_lets_no_two_callers_in() {
    let mut servers = Vec::new();
    for _ in 0..3 {
        servers.push(RedisServer::start_with(|_| settings(true)).await);
    }
    let member = |server: &RedisServer| Arc::new(Redis::open(&server.url()).unwrap()) as Arc<dyn QuorumMember>;
    let quorum = || Locker::new(Quorum::new(servers.iter().map(member).collect()).unwrap()).unwrap();
    let lockers = eight(quorum);
    let overlaps = contend(lockers, async |seen| {
        for server in &mut servers {
            server.kill();
            progress(seen).await;
            server.start_again().await;
        }
    })
    .await;
    assert_eq!(overlaps, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_with_sentinels_that_is_killed_repeats_no_fence() {
    let mut sentinels = Sentinels::start().await;
    contend(eight(|| sentinels.locker()), async |seen| {
        sentinels.primary.kill();
        progress(seen).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_a_cluster_that_is_killed_repeats_no_fence() {
    let mut cluster = Cluster::start_lopsided().await;
    contend(eight(|| cluster.locker()), async |seen| {
        cluster.nodes[0].kill();
        progress(seen).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_changes_places_with_its_replica_lets_no_two_callers_in() {
    let cluster = Cluster::start_lopsided().await;
    let overlaps = contend(eight(|| cluster.locker()), async |seen| {
        let replica = &cluster.nodes[3];
        () = replica.run(&["CLUSTER", "FAILOVER"]).await;
        replica.replicates("role:master").await;
        progress(seen).await;
    })
    .await;
    assert_eq!(overlaps, 0, "nothing that was confirmed is lost when this is planned");
}

#[tokio::test]
async fn a_short_soak_finds_no_violations() {
    let ran = Command::program("soak", &["--for", "1s", "--clients", "32", "--json"]).run().await;
    let report = ran.json();
    assert_eq!(ran.code, Some(0), "{report}");
    assert!(
        report["load"]["grants"].as_u64() > Some(100) && report["faults"].as_object().unwrap().len() == 8,
        "{report}"
    );
}
