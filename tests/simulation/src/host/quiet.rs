//! How worlds end: all is healthy, the locks are granted, and nothing is left.

use std::sync::Arc;
use std::time::Duration;

use locker_host::Locker;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::caller::Caller;
use super::invariants::HostInvariant::{FreeLocksAreGranted, GivenUpIsRemoved, NoPanic, NoTaskIsLeft, NothingIsLeft};
use super::plan::{Attempt, Ends, LOCK_NAMES, Style, lock_name};
use super::store::locker;
use super::world::World;

/// As late as any request comes, and a withdrawal that hangs is repeated.
const LATEST: Duration = Duration::from_secs(18);
/// What is left for a while: queues, graces, client keys and marks.
const KEPT: Duration = Duration::from_secs(11);

/// A connection that is not used any more is closed.
const CLOSES: Duration = Duration::from_millis(1);

pub(super) async fn quiet(world: &Arc<World>) {
    world.state().calm = true;
    world.tell(|| "all is quiet".to_owned());
    // Waiters that come at once find what is wrong with queues, and those that come later leave what was given up.
    if world.plan.seed % 2 == 1 {
        sleep(LATEST).await;
        given_up(world);
    }
    let lockers = waiters(world).await;
    sleep(LATEST).await;
    given_up(world);
    sleep(Duration::from_millis(world.plan.longest_ms()) + KEPT).await;
    let now = world.now();
    let left = world.state().sites.leftovers(now);
    if !left.is_empty() {
        world.violated(NothingIsLeft, format!("at the end: {left:?}"));
    }
    remembered(world);
    drop(lockers);
    sleep(CLOSES).await;
    let tasks = Handle::current().metrics().num_alive_tasks();
    // What a process does when it crashes hangs for ever.
    if tasks > 0 && !world.has_crashes() {
        world.violated(NoTaskIsLeft, format!("{tasks} tasks"));
    }
}

/// No process remembers a caller or a request.
fn remembered(world: &World) {
    let stores = world.take_stores();
    for stores in &stores {
        let remembered = if world.has_crashed(stores.process) { Vec::new() } else { stores.remembered() };
        if !remembered.is_empty() {
            world.violated(NothingIsLeft, format!("p{} remembers {remembered:?}", stores.process));
        }
    }
}

/// What callers gave up is gone, before it would expire.
fn given_up(world: &World) {
    let now = world.now();
    for name in LOCK_NAMES {
        let entries = world.state().sites.entries(name, now);
        world.ledger(|ledger, _| {
            let has_lost = ledger.losses + ledger.survived > 0;
            let mut entries = entries.iter().enumerate().filter_map(|(site, entry)| Some((site, entry.as_ref()?)));
            let given_up = entries.find(|(site, entry)| !has_lost && ledger.is_given_up(&entry.value, *site));
            if let Some((_, entry)) = given_up {
                ledger.violated(GivenUpIsRemoved, format!("{} has {name}, which it gave up", entry.value));
            }
        });
    }
}

/// New callers, in old and new processes, are granted all locks within the time.
async fn waiters(world: &Arc<World>) -> Vec<Locker> {
    let wait_ms = world.plan.longest_ms() + 10_000;
    let (mut waiters, mut lockers) = (JoinSet::new(), Vec::new());
    for number in 0..2 {
        let process = world.plan.processes.len() + number;
        let Ok(locker) = locker(world, process) else { continue };
        lockers.push(locker.clone());
        for name in 0..LOCK_NAMES.len() {
            let caller = Caller::new(world, process, name, locker.clone());
            waiters.spawn(waiter(caller, Attempt { style: Style::Hold, wait_ms, ..last_attempt(name) }));
        }
    }
    while let Some(done) = waiters.join_next().await {
        if done.is_err() {
            world.violated(NoPanic, "a waiter panicked");
        }
    }
    lockers
}

async fn waiter(mut caller: Caller, attempt: Attempt) {
    if !caller.lock(&attempt).await {
        let what = format!("p{} waits for {} for {} ms", caller.process, lock_name(attempt.name), attempt.wait_ms);
        caller.world.violated(FreeLocksAreGranted, what);
    }
}

fn last_attempt(name: usize) -> Attempt {
    Attempt {
        name,
        style: Style::Lock,
        ttl_ms: 1_000,
        wait_ms: 0,
        drops_after_ms: None,
        hold_ms: 10,
        extends_ms: Vec::new(),
        ends: Ends::Releases,
        chooses: false,
    }
}
