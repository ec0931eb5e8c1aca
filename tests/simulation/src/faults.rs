//! What can go wrong at a moment, and what it does.

use std::sync::MutexGuard;

use crate::scheduler::{Move, Scheduler};
use crate::script::{Kind, Plan};
use crate::table::{MILLISECOND, SECOND};
use crate::world::World;

/// All faults that a plan allows and that can happen now.
pub(crate) fn collect(plan: &Plan, world: &World, moves: &mut Vec<Move>) {
    for kind in plan.faults.iter().copied() {
        // Messages are on their way for a short time only.
        let weight = if !plan.brisk && matches!(kind, Kind::LostMessage | Kind::DuplicateMessage) { 8 } else { 1 };
        let places = places(kind, world);
        moves.extend((0..weight).flat_map(|_| &places).map(|which| Move::Fault(kind, *which)));
    }
}

/// Where a fault can happen: which message, host or process.
fn places(kind: Kind, world: &World) -> Vec<usize> {
    let network = &world.network;
    let hosts = 0..network.hosts();
    let alive = |host: &usize| world.processes.iter().any(|process| process.host == *host && !process.done);
    match kind {
        Kind::LostRequest | Kind::LostReply | Kind::LateRequest => {
            let messages = 0..network.messages.len();
            messages.filter(|which| network.is_connected(*which) && network.is_next(*which)).collect()
        }
        Kind::Duplicate => (0..network.messages.len()).filter(|which| network.is_connected(*which)).collect(),
        Kind::LostMessage | Kind::DuplicateMessage => (0..network.pushes.len()).collect(),
        Kind::Crash | Kind::Vanish => hosts.filter(alive).collect(),
        Kind::Pause => hosts.filter(|host| alive(host) && world.clients[*host].paused_until <= world.now).collect(),
        Kind::Cancel => {
            let processes = world.processes.iter().enumerate();
            let calls = processes
                .filter(|(_, process)| !process.done && process.call.as_ref().is_some_and(|call| !call.cancelled));
            calls.map(|(which, _)| which).collect()
        }
        Kind::Expiry => world.next_expiry().map(|_| 0).into_iter().collect(),
        Kind::Restart | Kind::Failover | Kind::ClockForward => vec![0],
    }
}

impl Scheduler<'_> {
    pub(crate) fn fault(&mut self, kind: Kind, which: usize, mut world: MutexGuard<'_, World>) {
        let host = match kind {
            Kind::LostRequest | Kind::LostReply | Kind::LateRequest | Kind::Duplicate => {
                world.network.messages[which].host
            }
            Kind::LostMessage | Kind::DuplicateMessage => world.network.pushes[which].notice.client,
            Kind::Crash | Kind::Vanish | Kind::Pause => which,
            Kind::Cancel => world.processes[which].host,
            Kind::Expiry | Kind::Restart | Kind::Failover | Kind::ClockForward => 0,
        };
        world.tell(host, format!("** {kind}"));
        match kind {
            Kind::LostRequest => world.cut(host, false),
            Kind::LateRequest => world.cut(host, true),
            Kind::LostReply => world.deliver_unanswered(which),
            Kind::Duplicate => world.network.duplicate(which),
            Kind::LostMessage => _ = world.network.pushes.remove(which),
            Kind::DuplicateMessage => world.hear(which, true),
            Kind::Cancel => {
                if let Some(call) = &mut world.processes[which].call {
                    call.cancelled = true;
                }
            }
            Kind::Pause => {
                let ms = self.choices.pick(&[self.plan.ttl_ms, 1, self.plan.ttl_ms / 2, 3 * self.plan.ttl_ms]);
                world.clients[host].paused_until = world.now + ms * MILLISECOND;
            }
            Kind::Expiry => world.now = world.next_expiry().unwrap_or(world.now),
            Kind::Restart => world.restart_empty(),
            Kind::Failover => {
                let replicas = world.replicas();
                world.fail_over(self.choices.choose(replicas));
            }
            Kind::ClockForward => {
                let by = self.choices.pick(&[3_600 * SECOND, 3 * SECOND]);
                world.set_clock_forward(by);
            }
            Kind::Crash | Kind::Vanish => {
                world.crash(which, kind == Kind::Crash);
                let ours: Vec<usize> = (0..self.tasks.len()).filter(|task| world.processes[*task].done).collect();
                drop(world);
                // The futures need the world when they are dropped.
                ours.into_iter().for_each(|task| self.tasks[task] = None);
            }
        }
    }
}
