//! Worlds whose processes a test plays itself.

use std::sync::Arc;

use locker_host::{Error, Locker};

use super::plan::HostPlan;
use super::run::runtime;
use super::store::locker_at;
use super::world::{Route, World};

/// What all processes share. Clones are the same.
#[derive(Clone)]
pub struct HostWorld(Arc<World>);

/// A process with one locker.
pub struct HostProcess {
    /// The locker.
    pub locker: Locker,
    world: HostWorld,
    number: usize,
}

/// Runs `play` in a healthy world with this seed, on a runtime of its own. Returns what it answers, or none if there is no runtime.
pub fn in_host_world<T>(seed: u64, play: impl AsyncFnOnce(HostWorld) -> T) -> Option<T> {
    let runtime = runtime()?;
    Some(runtime.block_on(async { play(HostWorld(World::new(HostPlan::empty(seed), None, true))).await }))
}

impl HostWorld {
    /// Starts a process, for which the server is of the kind that `url` says. All that it chooses follows from the seed of the world and its number.
    ///
    /// # Errors
    /// The locker's.
    pub fn process(&self, number: usize, url: &str) -> Result<HostProcess, Error> {
        Ok(HostProcess { locker: locker_at(&self.0, number, url)?, world: self.clone(), number })
    }

    /// What has happened: the time in milliseconds, the process, and its request.
    #[must_use]
    pub fn trace(&self) -> Vec<String> {
        self.0.state().trace.clone().unwrap_or_default()
    }
}

impl HostProcess {
    /// Lets nothing pass on the connection of the process for so long.
    pub fn hang(&self, length: std::time::Duration) {
        self.world.0.hangs_for(Route { process: self.number, site: 0 }, length);
    }

    /// Breaks the connection of the process.
    pub fn disconnect(&self) {
        self.world.0.breaks(Route { process: self.number, site: 0 }, std::time::Duration::ZERO);
    }
}
