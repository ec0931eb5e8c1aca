//! What goes wrong with servers and networks.

use std::sync::Arc;
use std::time::Duration;

use locker_simulated_redis::{Condition, Persistence};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::plan::{Fault, FaultKind, lock_name};
use super::traffic::observe;
use super::world::{State, World};

/// After a fault of the server, clients notice and come back.
const RECOVERY: Duration = Duration::from_secs(1);

/// Returns when all that goes wrong has gone wrong and is over.
pub(super) async fn faults(world: Arc<World>) {
    let mut faults = JoinSet::new();
    for fault in world.plan.faults.clone() {
        faults.spawn(happens(world.clone(), fault));
    }
    faults.join_all().await;
}

async fn happens(world: Arc<World>, fault: Fault) {
    let length = Duration::from_millis(fault.for_ms);
    sleep(Duration::from_millis(fault.from_ms)).await;
    world.tell(|| format!("{:?} for {length:?}", fault.what));
    match fault.what {
        FaultKind::Break { process } => return world.breaks(process, length),
        FaultKind::Hang { process } => return world.hangs_for(process, length),
        _ => {}
    }
    change(&world, |state, now| {
        state.ledger.disturbed(None, now + length + RECOVERY);
        begins(state, fault.what, now, length);
    });
    if matches!(fault.what, FaultKind::CutAll | FaultKind::Restart { .. } | FaultKind::FailOver) {
        world.cut_all();
    }
    sleep(length).await;
    change(&world, |state, _| ends(state, fault.what));
}

fn change(world: &World, change: impl FnOnce(&mut State, Duration)) {
    let now = world.now();
    let state = &mut *world.state();
    observe(state, now);
    change(state, now);
    observe(state, now);
    if state.ledger.violation.is_some() {
        world.stop.notify_one();
    }
}

fn begins(state: &mut State, fault: FaultKind, now: Duration, length: Duration) {
    let site = &mut state.site;
    match fault {
        FaultKind::Stop => site.stopped_until = site.stopped_until.max(now + length),
        FaultKind::Restart { empty } => {
            let persistence = if empty { Persistence::Nothing } else { Persistence::Everything };
            site.restart(persistence, now, length);
            if empty {
                state.ledger.loses();
                state.ledger.fences_are_lost = true;
            }
        }
        FaultKind::FlushScripts => site.primary(now).flush_scripts(),
        FaultKind::SetClock { by_ms } => {
            site.step_clock(by_ms);
            state.ledger.loses();
            state.ledger.clock_is_back |= by_ms < 0;
        }
        FaultKind::FailOver => {
            site.fail_over(now, length);
            state.ledger.loses();
            // The clocks of the two differ.
            (state.ledger.fences_are_lost, state.ledger.clock_is_back) = (true, true);
        }
        FaultKind::Busy => site.primary(now).set_condition(Condition::Busy),
        FaultKind::Loading => site.primary(now).set_condition(Condition::Loading),
        FaultKind::Full => site.primary(now).set_memory_full(true),
        FaultKind::Evict { name } => {
            state.ledger.loses();
            site.primary(now).evict(format!("lock:{}", lock_name(name)).as_bytes());
        }
        FaultKind::Refuse => _ = site.primary(now).set_user("default", &["-publish"]),
        FaultKind::CutAll | FaultKind::Break { .. } | FaultKind::Hang { .. } => {}
    }
}

/// The fault is over, on all servers: another one may serve since.
fn ends(state: &mut State, fault: FaultKind) {
    state.site.all(|server| match fault {
        FaultKind::Busy | FaultKind::Loading => server.set_condition(Condition::Serving),
        FaultKind::Full => server.set_memory_full(false),
        FaultKind::Refuse => _ = server.set_user("default", &["+publish"]),
        _ => {}
    });
}
