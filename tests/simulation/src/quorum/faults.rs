//! What goes wrong with members and links.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;

use super::plan::{Fault, FaultKind};
use super::server::may_lose_data;
use super::world::World;

/// Returns when all that goes wrong has gone wrong and is over.
pub(crate) async fn faults(world: Arc<World>) {
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
        FaultKind::Partition { process, member } => {
            *world.state().partitions.entry((process, member)).or_default() += 1;
            sleep(length).await;
            *world.state().partitions.entry((process, member)).or_default() -= 1;
        }
        FaultKind::Down { member, empty } => {
            goes_down(&world, member);
            sleep(length).await;
            comes_back(&world, member, empty);
        }
        FaultKind::Hang { member } => {
            let until = world.now() + length;
            let hangs_until = |world: &World| world.state().servers[member].hangs_until;
            let until = until.max(hangs_until(&world));
            world.state().servers[member].hangs_until = until;
            sleep(length).await;
        }
        FaultKind::Slow { member } => {
            world.state().servers[member].slow += 1;
            sleep(length).await;
            world.state().servers[member].slow -= 1;
        }
    }
}

fn goes_down(world: &World, member: usize) {
    let server = &mut world.state().servers[member];
    server.down += 1;
    server.starts += 1;
    server.hangs_until = Duration::ZERO;
    server.changed.notify_waiters();
}

fn comes_back(world: &World, member: usize, empty: bool) {
    let now = world.now();
    let loses = {
        let state = &mut *world.state();
        let loses = empty && may_lose_data(&state.servers, member, now, world.plan.majority());
        state.servers[member].down -= 1;
        if loses {
            state.servers[member].lose_data();
            state.ledger.losses += 1;
        }
        loses
    };
    world.tell(|| format!("m{member} is back{}", if loses { ", empty" } else { "" }));
}
