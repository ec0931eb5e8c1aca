//! Partitions of a network of hosts. Both sides go on, and each of them reaches only some of the servers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use locker_host::{LockOptions, Locker, LostReason, Quorum, QuorumMember, Redis};
use rstest::rstest;

use crate::harness::{
    Cluster, Contention, History, Host, LONG, Network, RedisServer, Sentinels, Side, granted, held, until,
};

const TTL: Duration = Duration::from_secs(2);

/// A store that soon gives up a connection on which no answer comes.
fn redis(url: &str) -> Redis {
    Redis::open(url).unwrap().timeout(TTL)
}

fn locker(url: &str) -> Locker {
    Locker::new(redis(url)).unwrap()
}

fn hosts(servers: &[RedisServer]) -> Vec<&Host> {
    servers.iter().map(RedisServer::host).collect()
}

/// What a cut between a caller and a server loses.
#[derive(Clone, Copy)]
enum Loses {
    Requests,
    Answers,
    Both,
}

impl Loses {
    fn cut(self, network: &Network, callers: &Host, servers: &[&Host]) {
        for server in servers {
            if !matches!(self, Self::Answers) {
                network.cut(callers, server);
            }
            if !matches!(self, Self::Requests) {
                network.cut(server, callers);
            }
        }
    }
}

fn assert_one_at_a_time(history: &History) {
    assert_eq!((history.overlaps(), history.repeated()), (Vec::new(), Vec::new()));
}

#[rstest]
#[case::by_callers_that_reach_both_sides(true)]
#[case::by_callers_that_reach_only_their_side(false)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_with_sentinels_that_is_cut_off_and_still_used_grants_no_fence_out_of_order(
    #[case] reach_both: bool,
) {
    let network = Network::new();
    let sentinels = Sentinels::start_on(|| Some(network.host())).await;
    let contention = Contention::start(&network, || locker(&sentinels.url())).await;
    let [minority, majority] = &contention.sides;
    let others = [hosts(&sentinels.sentinels), vec![sentinels.replica.host(), &majority.host]].concat();
    network.partition(&[sentinels.primary.host()], &others);
    if !reach_both {
        network.partition(&[&minority.host], &others);
    }
    sentinels.replica.replicates("role:master").await;
    contention.both_are_granted_the_lock().await;
    sentinels.primary.replicates("role:master").await;
    network.heal();
    sentinels.primary.replicates("role:slave").await;
    contention.both_are_granted_the_lock().await;
    contention.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_two_callers_hold_a_lock_that_a_replica_confirms_through_a_partition() {
    let network = Network::new();
    let sentinels = Sentinels::start_on(|| Some(network.host())).await;
    let contention = Contention::start(&network, || locker(&format!("{}?wait-replicas=1", sentinels.url()))).await;
    let [minority, majority] = &contention.sides;
    let others = [hosts(&sentinels.sentinels), vec![sentinels.replica.host(), &majority.host]].concat();
    network.partition(&[sentinels.primary.host(), &minority.host], &others);
    sentinels.replica.replicates("role:master").await;
    // Neither of the two primaries has a replica.
    tokio::join!(minority.is_refused(), majority.is_refused());
    network.heal();
    sentinels.primary.replicates("role:slave").await;
    contention.both_are_granted_the_lock().await;
    assert_one_at_a_time(&contention.end().await);
}

#[tokio::test]
async fn a_lock_that_a_replica_confirmed_is_held_on_the_other_side_of_a_partition() {
    let network = Network::new();
    let sentinels = Sentinels::start_on(|| Some(network.host())).await;
    let [one, other] = [(); 2].map(|()| Side::new(network.host()));
    let [holder, next] = [(); 2].map(|()| locker(&format!("{}?wait-replicas=1", sentinels.url())));
    let lease = one.spawn(async move { granted(holder.lock("job", LONG).await) }).await.unwrap();
    let others = [hosts(&sentinels.sentinels), vec![sentinels.replica.host(), &other.host]].concat();
    network.partition(&[sentinels.primary.host(), &one.host], &others);
    sentinels.replica.replicates("role:master").await;
    let holder = other.spawn(async move { held(next.lock("job", TTL).await) }).await.unwrap();
    assert_eq!(holder.fence, lease.fence);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_a_cluster_that_is_cut_off_grants_nothing_until_the_partition_heals() {
    let network = Network::new();
    let cluster = Cluster::start_lopsided_on(|| Some(network.host())).await;
    let contention = Contention::start(&network, || locker(&cluster.url())).await;
    let [minority, majority] = &contention.sides;
    let [node, others @ ..] = &cluster.nodes[..] else { unreachable!() };
    network.partition(&[node.host(), &minority.host], &[hosts(others), vec![&majority.host]].concat());
    cluster.nodes[3].replicates("role:master").await;
    until(async || node.run::<String>(&["CLUSTER", "INFO"]).await.contains("cluster_state:fail")).await;
    minority.is_refused().await;
    let before = minority.grants();
    tokio::join!(minority.is_refused(), majority.is_granted_the_lock());
    assert_eq!(minority.grants(), before);
    network.heal();
    contention.both_are_granted_the_lock().await;
    contention.end().await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quorum_grants_one_caller_at_a_time_while_each_side_reaches_another_majority(
    #[values(3, 5)] members: usize,
    #[values(Loses::Requests, Loses::Answers, Loses::Both)] loses: Loses,
) {
    let network = Network::new();
    let mut servers = Vec::new();
    for _ in 0..members {
        servers.push(RedisServer::start_on(Some(network.host()), |_| Vec::new()).await);
    }
    let contention = Contention::start(&network, || quorum_of(&servers)).await;
    for first in 0..members {
        let mut cut_off = servers.iter().map(RedisServer::host).cycle().skip(first);
        for side in &contention.sides {
            loses.cut(&network, &side.host, &cut_off.by_ref().take(members / 2).collect::<Vec<_>>());
        }
        contention.both_are_granted_the_lock().await;
        network.heal();
    }
    assert_one_at_a_time(&contention.end().await);
}

fn quorum_of(servers: &[RedisServer]) -> Locker {
    let member = |server: &RedisServer| Arc::new(redis(&server.url())) as Arc<dyn QuorumMember>;
    Locker::new(Quorum::new(servers.iter().map(member).collect()).unwrap()).unwrap()
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_that_is_cut_off_learns_of_its_loss_before_another_caller_is_granted_the_lock(
    #[values(Loses::Requests, Loses::Answers, Loses::Both)] loses: Loses,
) {
    let network = Network::new();
    let server = RedisServer::start_on(Some(network.host()), |_| Vec::new()).await;
    let [one, other] = [(); 2].map(|()| Side::new(network.host()));
    let (holder, next) = (locker(&server.url()), locker(&server.url()));
    let guard = one.spawn(async move { holder.hold("job", TTL).await.unwrap().granted().unwrap() }).await.unwrap();
    loses.cut(&network, &one.host, &[server.host()]);
    let wait = LockOptions::from(TTL).wait(10 * TTL);
    let next = other.spawn(async move { (granted(next.lock("job", wait).await), Instant::now()) });
    let (next, granted_at) = next.await.unwrap();
    assert!(guard.lost_at() < granted_at && !guard.is_held(), "{guard:?}");
    assert!(matches!(guard.lost().await, LostReason::Expired(_)), "{guard:?}");
    assert!(next.fence > guard.fence());
}
