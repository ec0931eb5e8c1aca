//! Picks what happens next, at every step of a world.

use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};

use crate::choices::Choices;
use crate::invariants::Invariant;
use crate::orphan::orphan_cleanup;
use crate::port::{Port, lock};
use crate::script::{Kind, Plan};
use crate::sim_cache::{HostBugs, SimCache};
use crate::table::{KEEP_QUEUE, MILLISECOND};
use crate::world::{Task, World};

/// More steps than any world should need.
const MANY: usize = 20_000;

pub(crate) struct Scheduler<'a> {
    world: Arc<Mutex<World>>,
    bugs: HostBugs,
    /// What each process does; none when it is done.
    pub(crate) tasks: Vec<Option<Task>>,
    pub(crate) choices: &'a mut Choices,
    pub(crate) plan: Plan,
    faults: usize,
    /// Whether all that happens is still the simplest, without a decision: until time passes for the first time.
    prelude: bool,
    /// Kept between steps, because there are many.
    moves: Vec<Move>,
}

/// Something that can happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Move {
    /// The server takes a message.
    Deliver(usize),
    /// A client gets a message.
    Hear(usize),
    /// A process goes on.
    Go(usize),
    Fault(Kind, usize),
}

impl<'a> Scheduler<'a> {
    pub(crate) fn new(
        world: Arc<Mutex<World>>,
        choices: &'a mut Choices,
        plan: Plan,
        bugs: HostBugs,
        tasks: Vec<Task>,
    ) -> Self {
        let tasks = tasks.into_iter().map(Some).collect();
        let prelude = plan.begins_settled;
        Self { world, bugs, tasks, choices, plan, faults: 0, prelude, moves: Vec::new() }
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
        let began = world.now;
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
        let unawaited = std::mem::take(&mut world.unawaited);
        drop(world);
        unawaited.into_iter().for_each(|(host, orphan)| self.withdraw(host, orphan));
        let mut world = lock(&shared);
        self.tasks.extend(world.spawned.drain(..).map(Some));
        world.now += 1;
        let now = world.now;
        world.table.expire(now);
        world.watch_waiters(now - began);
        let World { ledger, table, .. } = &mut *world;
        ledger.observe(now, table);
        ledger.check(now, table);
        true
    }

    /// What happens next; nothing if time passes.
    fn next(&mut self, world: &mut World) -> Option<Move> {
        self.moves.clear();
        if self.prelude {
            collect(world, &mut self.moves);
            return self.moves.first().copied();
        }
        if self.faults < self.plan.most_faults {
            crate::faults::collect(&self.plan, world, &mut self.moves);
            if !self.moves.is_empty() && self.choices.rarely(self.plan.fault_odds) {
                self.faults += 1;
                return Some(self.moves[self.choices.choose(self.moves.len())]);
            }
            self.moves.clear();
        }
        if !self.plan.brisk && self.choices.rarely(self.plan.time_odds) && self.pass_some_time(world) {
            return None;
        }
        collect(world, &mut self.moves);
        if self.plan.prompt
            && let Some(go) = self.moves.iter().find(|next| matches!(next, Move::Go(_)))
        {
            return Some(*go);
        }
        if !self.plan.brisk {
            self.delay_late_requests(world);
        }
        if self.moves.is_empty() {
            return None;
        }
        Some(self.moves[self.choices.choose(self.moves.len())])
    }

    /// Mostly, a request of an old connection comes later than anything else that can happen.
    fn delay_late_requests(&mut self, world: &World) {
        let is_late = |next: &Move| matches!(next, Move::Deliver(index) if !world.network.is_connected(*index));
        let late = self.moves.iter().filter(|next| is_late(next)).count();
        if late > 0 && late < self.moves.len() && !self.choices.rarely(8) {
            self.moves.retain(|next| !is_late(next));
        }
    }

    fn perform(&mut self, next: Move, mut world: std::sync::MutexGuard<'_, World>) {
        match next {
            Move::Deliver(index) => world.deliver(index),
            Move::Hear(index) => world.hear(index, false),
            Move::Go(process) => {
                drop(world);
                self.go(process);
            }
            Move::Fault(kind, which) => self.fault(kind, which, world),
        }
    }

    /// A value that a message told of and no caller awaits is withdrawn, unless a message may still tell of an earlier answer.
    fn withdraw(&mut self, host: usize, orphan: crate::process::Orphan) {
        let mut world = lock(&self.world);
        let client = &mut world.clients[host];
        let answered = client.answered.contains(&orphan.value) && !self.bugs.withdraws_what_was_answered;
        if answered || !client.withdrawing.insert(orphan.value.clone()) {
            return;
        }
        world.ledger.failed.push((host, orphan.value.clone()));
        let process = world.add_process(host);
        drop(world);
        let port = Port::new(self.world.clone(), process);
        let task: Task = Box::pin(orphan_cleanup(SimCache::new(port, self.bugs), orphan));
        lock(&self.world).spawned.push(task);
    }

    fn go(&mut self, process: usize) {
        let Some(task) = &mut self.tasks[process] else { return };
        if task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
            self.tasks[process] = None;
            lock(&self.world).processes[process].done = true;
        }
    }

    /// Time passes of its own, at any moment. Returns whether it did.
    fn pass_some_time(&mut self, world: &mut World) -> bool {
        let (timer, expiry) = (world.next_timer(), world.next_expiry());
        let to = match self.choices.choose(8) {
            0 | 1 => Some(world.now + MILLISECOND),
            2 | 3 => timer,
            4 => expiry,
            // The last moment before, as far as a step of the scheduler leaves one.
            5 => expiry.map(|expiry| expiry - 2),
            6 => Some(world.now + self.plan.ttl_ms * MILLISECOND / 4),
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
        self.prelude = false;
        if !can_go_on(world) {
            let Some(timer) = world.next_timer() else {
                world.ledger.violate(Invariant::EveryCallEnds, "nothing can happen any more".to_owned());
                return false;
            };
            world.now = timer;
        }
        true
    }

    /// When all is over, values and queues in the store last for their times to live at most.
    fn end(&self, world: &mut World) {
        let World { ledger, table, .. } = &mut *world;
        ledger.over(table);
        let longest = world.ledger.longest.values().copied().max();
        world.now = longest.unwrap_or(0).max(world.now + KEEP_QUEUE) + 1;
        let now = world.now;
        world.table.expire(now);
        if !world.table.is_empty() {
            let what = "the store is not empty when all is over".to_owned();
            world.ledger.violate(Invariant::NothingOutlivesItsTime, what);
        }
    }
}

fn is_over(world: &World) -> bool {
    let network = &world.network;
    network.messages.is_empty() && network.pushes.is_empty() && world.processes.iter().all(|process| process.done)
}

fn can_go_on(world: &World) -> bool {
    let network = &world.network;
    !network.messages.is_empty()
        || !network.pushes.is_empty()
        || (0..world.processes.len()).any(|process| world.is_ready(process))
}

/// What can happen without a fault, client by client, so that in the simplest world they take turns.
fn collect(world: &World, moves: &mut Vec<Move>) {
    let messages = &world.network.messages;
    for host in 0..world.network.hosts() {
        let ours = (0..messages.len()).filter(|index| messages[*index].host == host);
        moves.extend(ours.filter(|index| world.network.is_next(*index)).map(Move::Deliver));
        // A connection keeps the order of messages.
        moves.extend(world.network.pushes.iter().position(|push| push.notice.client == host).map(Move::Hear));
        let ours = (0..world.processes.len()).filter(|process| world.processes[*process].host == host);
        moves.extend(ours.filter(|process| world.is_ready(*process)).map(Move::Go));
    }
}
