//! One world.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::caller::process;
use super::faults::faults;
use super::invariants::HostInvariant::{EveryCallEnds, NoPanic};
use super::invariants::HostViolation;
use super::plan::HostPlan;
use super::quiet;
use super::variants::Variant;
use super::world::World;
use crate::panics::{has_panicked, watch_for_panics};

/// How a world ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostEnded {
    /// What happened, if it was to be told.
    pub trace: Vec<String>,
    /// What was not as it must be.
    pub violation: Option<HostViolation>,
    /// How many grants there were.
    pub granted: usize,
    /// How many calls failed.
    pub failed: usize,
    /// How many requests servers were sent.
    pub requests: usize,
    /// How often data was lost, or a clock was set.
    pub losses: u64,
}

/// Longer than any world lasts.
const LIMIT: Duration = Duration::from_secs(60 * 60);

/// A runtime on which time passes when there is nothing else to do.
pub(super) fn runtime() -> Option<Runtime> {
    Builder::new_current_thread().enable_time().start_paused(true).build().ok()
}

/// Lets a world happen, with a host that is broken or not.
#[must_use]
pub fn run_host(plan: &HostPlan, variant: Option<&Variant>, traced: bool) -> HostEnded {
    watch_for_panics();
    let Some(runtime) = runtime() else { return HostEnded::default() };
    let world = runtime.block_on(async {
        let world = World::new(plan.clone(), variant, traced);
        tokio::select! {
            biased;
            () = world.stop.notified() => {}
            done = timeout(LIMIT, play(&world)) => if done.is_err() {
                world.violated(EveryCallEnds, "the world does not end");
            }
        }
        if has_panicked() {
            world.violated(NoPanic, "a task panicked");
        }
        world
    });
    drop(runtime);
    drop(world.take_stores());
    let state = &mut *world.state();
    let ledger = &mut state.ledger;
    HostEnded {
        trace: state.trace.take().unwrap_or_default(),
        violation: ledger.violation.take(),
        granted: ledger.granted,
        failed: ledger.failed,
        requests: state.requests,
        losses: ledger.losses + ledger.survived,
    }
}

async fn play(world: &Arc<World>) {
    let mut tasks = JoinSet::new();
    tasks.spawn(faults(world.clone()));
    for number in 0..world.plan.processes.len() {
        tasks.spawn(process(world.clone(), number));
    }
    while let Some(done) = tasks.join_next().await {
        if done.is_err() {
            world.violated(NoPanic, "a process panicked");
        }
    }
    quiet::quiet(world).await;
}
