//! Picks what happens next, at every step of a world.

use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};

use crate::choices::Choices;
use crate::invariants::Invariant;
use crate::port::lock;
use crate::script::{Kind, Plan};
use crate::store::{MILLISECOND, Micros};
use crate::world::{Awaits, Task, World};

/// More steps than any world should need.
const MANY: usize = 20_000;

pub(crate) struct Scheduler<'a> {
    world: Arc<Mutex<World>>,
    /// What each process does; none when it is done.
    tasks: Vec<Option<Task>>,
    choices: &'a mut Choices,
    plan: Plan,
    faults: usize,
    /// Kept between steps, because there are many.
    moves: Vec<Move>,
}

/// Something that can happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Move {
    /// The server takes a message.
    Deliver(usize),
    /// A process goes on.
    Go(usize),
    Fault(Kind, usize),
}

impl<'a> Scheduler<'a> {
    pub(crate) fn new(world: Arc<Mutex<World>>, choices: &'a mut Choices, plan: Plan, tasks: Vec<Task>) -> Self {
        let tasks = tasks.into_iter().map(Some).collect();
        Self { world, tasks, choices, plan, faults: 0, moves: Vec::new() }
    }

    /// Lets a world go on until all is over, or an invariant does not hold. Returns the number of steps.
    pub(crate) fn run(mut self) -> usize {
        let mut steps = 0;
        while self.step() {
            steps += 1;
            if steps > MANY {
                lock(&self.world).ledger.violate(Invariant::EveryCallEnds, "the world does not end".to_owned());
            }
        }
        steps
    }

    /// Whether there was anything left to do.
    fn step(&mut self) -> bool {
        let shared = self.world.clone();
        let mut world = lock(&shared);
        if world.ledger.violation.is_some() {
            return false;
        }
        let next = self.next(&mut world);
        if next.is_none() && !self.pass_time(&mut world) {
            self.end(&mut world);
            return false;
        }
        if let Some(next) = next {
            self.perform(next, world);
        } else {
            drop(world);
        }
        let mut world = lock(&shared);
        self.tasks.extend(world.spawned.drain(..).map(Some));
        world.now += 1;
        let now = world.now;
        world.table.expire(now);
        let World { ledger, table, .. } = &mut *world;
        ledger.observe(now, table);
        ledger.check(now, table);
        true
    }

    /// What happens next; nothing if time passes.
    fn next(&mut self, world: &mut World) -> Option<Move> {
        self.moves.clear();
        if self.faults < self.plan.most_faults {
            collect_faults(&self.plan, world, &mut self.moves);
            if !self.moves.is_empty() && self.choices.rarely(12) {
                self.faults += 1;
                return Some(self.moves[self.choices.choose(self.moves.len())]);
            }
            self.moves.clear();
        }
        if !self.plan.brisk && self.choices.rarely(4) && self.pass_some_time(world) {
            return None;
        }
        collect(world, &mut self.moves);
        if self.plan.prompt
            && let Some(go) = self.moves.iter().find(|next| matches!(next, Move::Go(_)))
        {
            return Some(*go);
        }
        if self.moves.is_empty() {
            return None;
        }
        Some(self.moves[self.choices.choose(self.moves.len())])
    }

    fn perform(&mut self, next: Move, mut world: std::sync::MutexGuard<'_, World>) {
        match next {
            Move::Deliver(index) => world.deliver(index),
            Move::Go(process) => {
                drop(world);
                self.go(process);
            }
            Move::Fault(kind, which) => self.fault(kind, which, world),
        }
    }

    fn go(&mut self, process: usize) {
        let Some(task) = &mut self.tasks[process] else { return };
        if task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
            self.tasks[process] = None;
            lock(&self.world).processes[process].done = true;
        }
    }

    fn fault(&mut self, kind: Kind, which: usize, mut world: std::sync::MutexGuard<'_, World>) {
        let host = match kind {
            Kind::LostRequest | Kind::LostAnswer | Kind::LateRequest | Kind::Duplicate => {
                world.network.messages[which].host
            }
            Kind::Crash => which,
            Kind::Cancel | Kind::Pause | Kind::LostWakeup => world.processes[which].host,
            Kind::Expiry | Kind::Restart | Kind::Failover => 0,
        };
        world.tell(host, format!("** {kind}"));
        match kind {
            Kind::LostRequest => world.cut(host, false),
            Kind::LateRequest => world.cut(host, true),
            Kind::LostAnswer => world.deliver_unanswered(which),
            Kind::Duplicate => world.network.duplicate(which),
            Kind::Cancel => {
                if let Some(call) = &mut world.processes[which].call {
                    call.cancelled = true;
                }
            }
            Kind::Pause => {
                let ms = self.choices.pick(&[self.plan.ttl_ms, 1, self.plan.ttl_ms / 2, 3 * self.plan.ttl_ms]);
                world.processes[which].paused_until = world.now + ms * MILLISECOND;
            }
            Kind::LostWakeup => world.processes[which].listens = None,
            Kind::Expiry => world.now = world.next_expiry().unwrap_or(world.now),
            Kind::Restart => world.forget(),
            Kind::Failover => {
                let replicas = world.replicas();
                world.fail_over(self.choices.choose(replicas));
            }
            Kind::Crash => {
                world.crash(which);
                let ours: Vec<usize> = (0..self.tasks.len()).filter(|task| world.processes[*task].done).collect();
                drop(world);
                // What is dropped must find the world unlocked.
                ours.into_iter().for_each(|task| self.tasks[task] = None);
            }
        }
    }

    /// Time passes of its own, at any moment. Returns whether it did.
    fn pass_some_time(&mut self, world: &mut World) -> bool {
        let (timer, expiry) = (world.next_timer(), world.next_expiry());
        let to = match self.choices.choose(6) {
            0 => Some(world.now + MILLISECOND),
            1 => expiry,
            // The last moment before, as far as a step of the scheduler leaves one.
            2 => expiry.map(|expiry| expiry - 2),
            3 => timer,
            4 => Some(world.now + self.plan.ttl_ms * MILLISECOND / 4),
            _ => Some(world.now + 30 * MILLISECOND),
        };
        let Some(to) = to.filter(|to| *to > world.now) else { return false };
        world.now = to;
        true
    }

    /// Time passes because nothing else can happen. Returns whether anything will.
    fn pass_time(&mut self, world: &mut World) -> bool {
        if is_over(world) {
            return false;
        }
        if !can_go_on(world) {
            let Some(timer) = world.next_timer() else {
                world.ledger.violate(Invariant::EveryCallEnds, "nothing can happen any more".to_owned());
                return false;
            };
            world.now = timer;
        }
        true
    }

    /// When all is over, what is left in the store lasts for its time to live at most.
    fn end(&self, world: &mut World) {
        let World { ledger, table, .. } = &mut *world;
        ledger.over(table);
        let longest = world.ledger.longest.values().copied().max();
        world.now = longest.unwrap_or(0).max(world.now) + 1;
        let now = world.now;
        world.table.expire(now);
        if !world.table.slots.is_empty() {
            let what = "something is left when all is over".to_owned();
            world.ledger.violate(Invariant::NothingOutlivesItsTime, what);
        }
    }
}

fn is_over(world: &World) -> bool {
    world.network.messages.is_empty() && world.processes.iter().all(|process| process.done)
}

fn can_go_on(world: &World) -> bool {
    !world.network.messages.is_empty() || (0..world.processes.len()).any(|process| world.is_ready(process))
}

/// What can happen without anything going wrong, client by client, so that the simplest world has them one by one.
fn collect(world: &World, moves: &mut Vec<Move>) {
    let messages = &world.network.messages;
    for host in 0..world.network.hosts() {
        let ours = (0..messages.len()).filter(|index| messages[*index].host == host);
        moves.extend(ours.filter(|index| world.network.is_next(*index)).map(Move::Deliver));
        let ours = (0..world.processes.len()).filter(|process| world.processes[*process].host == host);
        moves.extend(ours.filter(|process| world.is_ready(*process)).map(Move::Go));
    }
}

fn collect_faults(plan: &Plan, world: &World, moves: &mut Vec<Move>) {
    let network = &world.network;
    let under_way =
        |kind: Kind, which: usize| network.is_connected(which) && (kind == Kind::Duplicate || network.is_next(which));
    for kind in plan.faults.iter().copied() {
        let all = match kind {
            Kind::LostRequest | Kind::LostAnswer | Kind::LateRequest | Kind::Duplicate => {
                let messages = 0..network.messages.len();
                moves.extend(messages.filter(|which| under_way(kind, *which)).map(|which| Move::Fault(kind, which)));
                continue;
            }
            Kind::Crash => {
                let alive = |host: &usize| world.processes.iter().any(|process| process.host == *host && !process.done);
                (0..world.network.hosts()).filter(alive).collect::<Vec<_>>()
            }
            Kind::Cancel => processes(world, |process| process.call.as_ref().is_some_and(|call| !call.cancelled)),
            Kind::Pause => processes(world, |process| process.paused_until <= world.now),
            Kind::LostWakeup => processes(world, |process| matches!(process.awaits, Awaits::Wakeup { .. })),
            Kind::Expiry => world.next_expiry().iter().map(|_: &Micros| 0).collect(),
            Kind::Restart => vec![0],
            Kind::Failover => {
                if world.replicas() > 0 {
                    vec![0]
                } else {
                    Vec::new()
                }
            }
        };
        moves.extend(all.into_iter().map(|which| Move::Fault(kind, which)));
    }
}

fn processes(world: &World, so: impl Fn(&crate::world::Process) -> bool) -> Vec<usize> {
    (0..world.processes.len()).filter(|which| !world.processes[*which].done && so(&world.processes[*which])).collect()
}
