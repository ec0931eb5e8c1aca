//! One world.

use std::cell::Cell;
use std::panic::{set_hook, take_hook};
use std::sync::{Arc, Once};
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::caller::process;
use super::faults::faults;
use super::flaws::Flaw;
use super::invariants::QuorumInvariant::{EveryCallEnds, NoPanic};
use super::invariants::QuorumViolation;
use super::plan::Plan;
use super::world::World;
use super::{contention, quiet};

/// How a world ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QuorumEnded {
    /// What happened, if it was to be told.
    pub trace: Vec<String>,
    /// What was not as it must be.
    pub violation: Option<QuorumViolation>,
    /// How many grants there were.
    pub granted: usize,
    /// How often callers were told of a holder.
    pub occupied: usize,
    /// How many calls failed.
    pub failed: usize,
    /// How often a member lost its data.
    pub losses: u64,
}

/// Longer than any world lasts.
const LIMIT: Duration = Duration::from_secs(3 * 60 * 60);

/// Lets a world happen, with members that have a flaw or none.
#[must_use]
pub fn run_quorum(plan: &Plan, flaw: Option<Flaw>, traced: bool) -> QuorumEnded {
    watch_for_panics();
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
    let Ok(runtime) = runtime else { return QuorumEnded::default() };
    let world = runtime.block_on(async {
        let world = World::new(plan.clone(), flaw, traced);
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
    let state = &mut *world.state();
    let ledger = &mut state.ledger;
    QuorumEnded {
        trace: state.trace.take().unwrap_or_default(),
        violation: ledger.violation.take(),
        granted: ledger.granted,
        occupied: ledger.occupied,
        failed: ledger.failed.len(),
        losses: ledger.losses,
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
    contention::check(world);
    quiet::quiet(world).await;
}

thread_local! {
    static PANICKED: Cell<bool> = const { Cell::new(false) };
}

/// Whether a task has panicked on this thread since [`watch_for_panics`].
pub(crate) fn has_panicked() -> bool {
    PANICKED.get()
}

/// A task that panics does so quietly otherwise.
pub(crate) fn watch_for_panics() {
    static ONCE: Once = Once::new();
    PANICKED.set(false);
    ONCE.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |panic| {
            PANICKED.set(true);
            before(panic);
        }));
    });
}
