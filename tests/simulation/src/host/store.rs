//! The lockers of processes, with their stores.

use std::sync::Arc;

use locker_host::simulation::Environment;
use locker_host::{Error, Limits, Locker, Quorum, QuorumMember, Redis};

use super::cluster::ClusterNetwork;
use super::network::Network;
use super::plan::{Topology, mixed};
use super::site::STARTED;
use super::world::{Route, World};

/// How much the clock of a process may be ahead, in microseconds.
const MOST_AHEAD: u64 = 20_000_000;

/// The stores of a process.
pub(super) struct Stores {
    pub(super) process: usize,
    servers: Vec<Redis>,
    quorum: Option<Quorum>,
}

/// The locker of a process.
pub(super) fn locker(world: &Arc<World>, process: usize) -> Result<Locker, Error> {
    let url = match (world.plan.lag_ms, world.plan.waits_for_replica) {
        (None, _) => "redis://simulated",
        (Some(_), false) => "redis+sentinel://simulated/main",
        (Some(_), true) => "redis+sentinel://simulated/main?wait-replicas=1",
    };
    locker_at(world, process, url)
}

/// The locker of a process whose servers are of the kind that `url` says.
pub(super) fn locker_at(world: &Arc<World>, process: usize, url: &str) -> Result<Locker, Error> {
    let seed = mixed(&[world.plan.seed, 5, process as u64]);
    let environment = Environment::simulated(seed, STARTED + seed % MOST_AHEAD);
    let redis = |site| -> Result<Redis, Error> {
        let network = Network { world: world.clone(), route: Route { process, site } };
        Ok(Redis::open(url)?.connector(Arc::new(network)).environment(&environment))
    };
    let cluster = || -> Result<Redis, Error> {
        let network = ClusterNetwork { world: world.clone(), process };
        let redis = Redis::open("redis+cluster://simulated")?.connector(Arc::new(network));
        Ok(redis.environment(&environment))
    };
    let servers: Vec<Redis> = match world.plan.topology {
        Topology::Cluster => vec![cluster()?],
        Topology::One => vec![redis(0)?],
        Topology::Quorum => (0..world.plan.clocks.len()).map(redis).collect::<Result<_, _>>()?,
    };
    let quorum = if world.plan.is_quorum() {
        let members = servers.iter().map(|server| Arc::new(server.clone()) as Arc<dyn QuorumMember>);
        Some(Quorum::new(members.collect())?.environment(&environment))
    } else {
        None
    };
    let locker = match &quorum {
        Some(quorum) => Locker::with_environment(quorum.clone(), Limits::default(), &environment),
        None => Locker::with_environment(servers[0].clone(), Limits::default(), &environment),
    };
    world.state().stores.push(Stores { process, servers, quorum });
    locker
}

impl Stores {
    /// What they remember of callers and requests.
    pub(super) fn remembered(&self) -> Vec<String> {
        let servers = self.servers.iter().flat_map(Redis::remembered);
        servers.chain(self.quorum.iter().flat_map(Quorum::remembered)).collect()
    }
}
