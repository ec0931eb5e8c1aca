//! How worlds end: all is healthy, the locks are granted, and nothing is left.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use locker_host::Cache;
use locker_host::cache::SetOutcome;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::caller::{Caller, quorum};
use super::invariants::QuorumInvariant::{FreeLocksAreGranted, NoPanic, NoTaskIsLeft, NothingIsLeft};
use super::kinds::attempt;
use super::plan::{Kind, Step, key_name, mixed};
use super::words;
use super::world::World;

/// As late as any request comes.
const LATEST: Duration = Duration::from_millis(5_500 + 1_500);

pub(crate) async fn quiet(world: &Arc<World>) {
    world.state().calm = true;
    world.tell(|| "all is quiet".to_owned());
    let max_ttl = Duration::from_millis(world.plan.max_ttl_ms());
    if world.plan.kind == Kind::Chaos {
        waiters(world, max_ttl + LATEST + Duration::from_secs(3)).await;
        // A withdrawal in the background takes ten seconds if it hangs, and the next one a second.
        sleep(LATEST + Duration::from_secs(12)).await;
    } else {
        sleep(Duration::from_secs(2)).await;
    }
    given_up(world);
    if world.plan.kind != Kind::Chaos {
        waiters(world, Duration::from_secs(1)).await;
    }
    sleep(max_ttl * 101 / 100 + LATEST).await;
    let left = keys_left(world);
    if !left.is_empty() {
        world.violated(NothingIsLeft, format!("at the end: {left:?}"));
    }
    let tasks = Handle::current().metrics().num_alive_tasks();
    if tasks > 0 {
        world.violated(NoTaskIsLeft, format!("{tasks} tasks"));
    }
}

/// What members have under keys.
fn keys_left(world: &World) -> Vec<(usize, String, String)> {
    let now = world.now();
    let state = world.state();
    let servers = state.servers.iter().enumerate();
    let left = servers.flat_map(|(member, server)| server.slots.keys().map(move |key| (member, server, key)));
    let left = left.filter_map(|(member, server, key)| {
        let slot = server.slot(key, now)?;
        Some((member, key.clone(), slot.value.clone()))
    });
    left.collect()
}

/// What callers gave up is gone, before it expires. A member that lost its data may have stored it again, and a vote may be stored
/// on a minority when it, or a second copy of it, comes later than the release.
fn given_up(world: &World) {
    let (left, majority) = (keys_left(world), world.plan.majority());
    let count = |key: &str, value: &str| left.iter().filter(|left| left.1 == key && left.2 == value).count();
    world.ledger(|ledger, _| {
        for (member, key, value) in left.iter().filter(|_| ledger.losses == 0) {
            let Some(gone) = ledger.gone.get(&(key.clone(), value.clone())) else { continue };
            let may_be_late = gone.released || world.plan.link.repeated > 0;
            if world.plan.kind != Kind::Chaos || !may_be_late || count(key, value) >= majority {
                let what = format!("m{member} has {value} under {key}, which was given up");
                return ledger.violated(NothingIsLeft, what);
            }
        }
    });
}

/// New callers are granted all locks within the time.
async fn waiters(world: &Arc<World>, wait: Duration) {
    let steps = world.plan.processes.iter().flat_map(|process| process.callers.iter().flatten());
    let keys: BTreeSet<usize> =
        steps.filter_map(|step| if let Step::Lock(attempt) = step { Some(attempt.key) } else { None }).collect();
    let mut waiters = JoinSet::new();
    for number in 0..=world.plan.seed % 3 {
        let process = world.plan.processes.len() + usize::try_from(number).unwrap_or(0);
        let Some(quorum) = quorum(world, process, number) else { return };
        for key in &keys {
            let rng = Rng::with_seed(mixed(&[world.plan.seed, 3, process as u64, *key as u64]));
            let caller = Caller { world: world.clone(), process, quorum: quorum.clone(), rng };
            waiters.spawn(waiter(caller, *key, wait));
        }
    }
    while let Some(done) = waiters.join_next().await {
        if done.is_err() {
            world.violated(NoPanic, "a waiter panicked");
        }
    }
}

async fn waiter(mut caller: Caller, key: usize, wait: Duration) {
    let (key, ttl_ms, value) =
        (key_name(key), attempt(key).ttl_ms, format!("{:04x}-p{}", caller.rng.u16(..), caller.process));
    caller.world.ledger(|ledger, _| ledger.asks(key, &value));
    caller.world.tell(|| format!("p{} asks for {key} with {value}, waits for {wait:?}", caller.process));
    let answer = caller.quorum.set_if_absent(key, &value, Some(Duration::from_millis(ttl_ms)), wait).await;
    caller.world.tell(|| format!("p{}: {}", caller.process, words::set(&answer)));
    let Ok(SetOutcome::Stored(stored)) = answer else {
        let what = format!("{value} waits for {key} for {wait:?}, and then: {}", words::set(&answer));
        return caller.world.violated(FreeLocksAreGranted, what);
    };
    let deadline = caller.world.since_start(stored.deadline);
    caller.world.ledger(|ledger, now| ledger.grant(caller.process, key, &value, stored.revision, deadline, now));
    caller.release(key, &value, ttl_ms).await;
}
