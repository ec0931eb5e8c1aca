//! Many clients that contend for one lock while servers are killed, cut off and started again. Fences must be in the order of time
//! throughout.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use locker_host::{LockOptions, LockOutcome, Locker, Quorum, QuorumMember, Redis};
use nix::sys::signal::{Signal, kill};
use rstest::rstest;
use tokio::task::JoinSet;

use crate::harness::{Cluster, Command, History, Protected, RedisServer, Sentinels, until, until_elected};

const CLIENTS: usize = 64;
const TTL: Duration = Duration::from_secs(2);

/// What clients see of the lock.
#[derive(Default)]
struct Seen {
    protected: Mutex<Protected>,
    history: Mutex<History>,
    over: AtomicBool,
}

async fn client(locker: Locker, seen: Arc<Seen>) {
    while !seen.over.load(Ordering::Relaxed) {
        let called = Instant::now();
        let Ok(LockOutcome::Granted(lease)) = locker.lock("job", LockOptions::from(TTL).wait(TTL)).await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        seen.history.lock().unwrap().add(called, lease.fence);
        if seen.protected.lock().unwrap().enter(&lease) {
            tokio::task::yield_now().await;
            seen.protected.lock().unwrap().leave(&lease);
        }
        // If the server is gone, the lock ends by itself.
        _ = locker.unlock("job", &lease.token).await;
    }
}

/// Clients that contend while something happens to their servers. Returns how often one was let in beside another.
async fn contend(lockers: Vec<Locker>, disturb: impl AsyncFnOnce(&Seen)) -> usize {
    let seen = Arc::<Seen>::default();
    let mut clients = JoinSet::new();
    for locker in &lockers {
        for _ in 0..CLIENTS / lockers.len() {
            clients.spawn(client(locker.clone(), seen.clone()));
        }
    }
    progress(&seen).await;
    disturb(&seen).await;
    seen.over.store(true, Ordering::Relaxed);
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
    assert_eq!(
        seen.history.lock().unwrap().inversions(),
        Vec::<u64>::new(),
        "these fences are lower than earlier ones"
    );
    let protected = seen.protected.lock().unwrap();
    assert!(protected.repeated.is_empty(), "{:?}", protected.repeated);
    protected.overlaps.len()
}

/// Waits until the clients have got on with it.
async fn progress(seen: &Seen) {
    let grants = || seen.protected.lock().unwrap().grants();
    let before = grants();
    until_elected(async || grants() > before + 50).await;
}

/// Cuts a server off until something has happened: it takes no request meanwhile, and handles those that were under way when it returns.
async fn while_cut_off(server: &RedisServer, happened: impl Future<Output = ()>) {
    kill(server.pid(), Signal::SIGSTOP).unwrap();
    happened.await;
    kill(server.pid(), Signal::SIGCONT).unwrap();
}

fn quorum_of(servers: &[RedisServer]) -> Locker {
    let member = |server: &RedisServer| Arc::new(Redis::open(&server.url()).unwrap()) as Arc<dyn QuorumMember>;
    Locker::new(Quorum::new(servers.iter().map(member).collect()).unwrap()).unwrap()
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
    let lockers = eight(|| quorum_of(&servers));
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
async fn a_primary_with_sentinels_that_was_cut_off_and_returns_grants_no_fence_out_of_order() {
    let sentinels = Sentinels::start().await;
    contend(eight(|| sentinels.locker()), async |seen| {
        while_cut_off(&sentinels.primary, async {
            sentinels.replica.replicates("role:master").await;
            progress(seen).await;
        })
        .await;
        sentinels.primary.replicates("role:slave").await;
        progress(seen).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_a_cluster_that_was_cut_off_and_returns_grants_no_fence_out_of_order() {
    let cluster = Cluster::start_lopsided().await;
    contend(eight(|| cluster.locker()), async |seen| {
        while_cut_off(&cluster.nodes[0], async {
            cluster.nodes[3].replicates("role:master").await;
            progress(seen).await;
        })
        .await;
        cluster.nodes[0].replicates("role:slave").await;
        progress(seen).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quorum_whose_members_are_cut_off_one_after_the_other_lets_no_two_callers_in() {
    let servers = [RedisServer::start().await, RedisServer::start().await, RedisServer::start().await];
    let overlaps = contend(eight(|| quorum_of(&servers)), async |seen| {
        for server in &servers {
            while_cut_off(server, progress(seen)).await;
            progress(seen).await;
        }
    })
    .await;
    assert_eq!(overlaps, 0);
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
