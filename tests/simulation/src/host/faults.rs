//! What goes wrong with servers and networks.

use std::sync::Arc;
use std::time::Duration;

use locker_simulated_redis::{Condition, Persistence};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::moves::{disturb, moves};
use super::plan::{Fault, FaultKind, lock_name};
use super::sites::Sites;
use super::traffic::observe;
use super::world::{Route, State, World};

/// After a fault of the server, clients notice and come back.
pub(super) const RECOVERY: Duration = Duration::from_secs(1);

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
        FaultKind::Break { process } => return world.breaks(Route { process, site: fault.site }, length),
        FaultKind::Hang { process } => return world.hangs_for(Route { process, site: fault.site }, length),
        FaultKind::Crash { process } => return world.crashes(process),
        FaultKind::Move { name } => {
            change(&world, |state, now| disturb(state, now + 2 * length));
            return moves(&world, name, length).await;
        }
        _ => {}
    }
    change(&world, |state, now| {
        match fault.what {
            FaultKind::Restart { empty: false } => state.ledger.restarts(fault.site, now + length + RECOVERY),
            _ => state.ledger.disturbed(None, fault.site, now + length + RECOVERY),
        }
        begins(state, fault, now, length);
    });
    if matches!(fault.what, FaultKind::CutAll | FaultKind::Restart { .. } | FaultKind::FailOver) {
        world.cut_all(fault.site);
    }
    sleep(length).await;
    change(&world, |state, _| ends(state, fault));
}

pub(super) fn change<T>(world: &World, change: impl FnOnce(&mut State, Duration) -> T) -> T {
    let now = world.now();
    let state = &mut *world.state();
    observe(state, now);
    let done = change(state, now);
    observe(state, now);
    if state.ledger.violation.is_some() {
        world.stop.notify_one();
    }
    done
}

fn begins(state: &mut State, fault: Fault, now: Duration, length: Duration) {
    let (is_quorum, ledger) = (state.ledger.is_quorum(), &mut state.ledger);
    let loses =
        matches!(fault.what, FaultKind::Restart { empty: true } | FaultKind::SetClock { .. } | FaultKind::Evict { .. });
    let keeps = state.waits_for_replica && state.sites.all[fault.site].clocks_agree();
    let fault = if loses && is_quorum { survivable(&mut state.sites, fault, now) } else { fault };
    if loses && is_quorum {
        ledger.survived += 1;
    } else if loses || (fault.what == FaultKind::FailOver && !keeps) {
        ledger.loses(now);
    }
    let site = &mut state.sites.all[fault.site];
    match fault.what {
        FaultKind::Stop => site.stopped_until = site.stopped_until.max(now + length),
        FaultKind::Restart { empty } => {
            let persistence = if empty { Persistence::Nothing } else { Persistence::Everything };
            site.restart(persistence, now, length);
            ledger.fences_are_lost |= empty && !is_quorum;
        }
        FaultKind::FlushScripts => site.primary(now).flush_scripts(),
        FaultKind::SetClock { by_ms } => {
            site.step_clock(by_ms);
            ledger.clock_is_back |= by_ms < 0;
        }
        FaultKind::FailOver => {
            site.fail_over(now, length);
            // What the replica has not confirmed is lost: no lock, but perhaps a release.
            ledger.losses += 1;
            ledger.lost_at.push(now);
            ledger.lost_at.dedup();
            ledger.failed_over = Some(now);
            // The clocks of the two differ.
            ledger.clock_is_back = true;
            ledger.fences_are_lost |= !keeps;
        }
        FaultKind::Busy => site.primary(now).set_condition(Condition::Busy),
        FaultKind::Loading => site.primary(now).set_condition(Condition::Loading),
        FaultKind::Full => site.primary(now).set_memory_full(true),
        FaultKind::Evict { name } => _ = site.primary(now).evict(format!("lock:{}", lock_name(name)).as_bytes()),
        FaultKind::Refuse => _ = site.primary(now).set_user("default", &["-publish"]),
        _ => {}
    }
}

/// A quorum promises nothing if it loses what no majority of the others keeps. Then something less happens.
fn survivable(sites: &mut Sites, fault: Fault, now: Duration) -> Fault {
    let what = match fault.what {
        FaultKind::Restart { .. } => FaultKind::Restart { empty: sites.may_lose(fault.site, now) },
        FaultKind::Evict { name } if !sites.may_evict(fault.site, lock_name(name), now) => FaultKind::FlushScripts,
        FaultKind::SetClock { by_ms } if !sites.may_lose(fault.site, now) => {
            FaultKind::SetClock { by_ms: -by_ms.abs() }
        }
        what => what,
    };
    Fault { what, ..fault }
}

/// The fault is over, on all servers: another one may serve since.
fn ends(state: &mut State, fault: Fault) {
    state.sites.all[fault.site].all(|server| match fault.what {
        FaultKind::Busy | FaultKind::Loading => server.set_condition(Condition::Serving),
        FaultKind::Full => server.set_memory_full(false),
        FaultKind::Refuse => _ = server.set_user("default", &["+publish"]),
        _ => {}
    });
}
