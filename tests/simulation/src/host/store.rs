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
    match world.plan.topology {
        Topology::Cluster => {
            let network = ClusterNetwork { world: world.clone(), process };
            let redis = Redis::open("redis+cluster://simulated")?.connector(Arc::new(network));
            Locker::with_environment(redis.environment(&environment), Limits::default(), &environment)
        }
        Topology::One => Locker::with_environment(redis(0)?, Limits::default(), &environment),
        Topology::Quorum => {
            let member = |site| Ok::<_, Error>(Arc::new(redis(site)?) as Arc<dyn QuorumMember>);
            let members = (0..world.plan.clocks.len()).map(member).collect::<Result<_, _>>()?;
            let quorum = Quorum::new(members)?.environment(&environment);
            Locker::with_environment(quorum, Limits::default(), &environment)
        }
    }
}
