//! What runs on a client's machine: a caller, or the clean-up of values whose callers went away.

use std::task::Poll;

use crate::network::Sender;
use crate::request::{Reply, Request};
use crate::table::{Micros, SECOND};
use crate::world::World;

/// How long a client waits for a reply.
pub(crate) const TIMEOUT: Micros = 5 * SECOND;

pub(crate) struct Process {
    pub(crate) host: usize,
    pub(crate) awaits: Awaits,
    pub(crate) call: Option<Current>,
    pub(crate) done: bool,
}

/// What a process cannot go on without.
pub(crate) enum Awaits {
    Nothing,
    Reply { message: u64, until: Micros, reply: Option<Result<Reply, Unanswered>> },
    Time(Micros),
    Wakeup { until: Micros },
}

/// The call into the guest that a process is in.
#[derive(Clone)]
pub(crate) struct Current {
    pub(crate) id: usize,
    pub(crate) deadline: Micros,
    pub(crate) cancelled: bool,
    pub(crate) orphan: Option<Orphan>,
}

/// A value that may be in the store or in a queue although no caller has learnt that it is.
#[derive(Clone)]
pub(crate) struct Orphan {
    pub(crate) key: String,
    pub(crate) value: String,
    /// When it has expired at the latest, if it is there at all.
    pub(crate) expired: Micros,
}

/// Why there is no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unanswered {
    /// The connection was lost.
    Lost,
    /// It took too long.
    TimedOut,
}

impl World {
    /// Adds a process, and returns its number.
    pub(crate) fn add_process(&mut self, host: usize) -> usize {
        self.network.add_host(host);
        let hosts = self.clients.len().max(host + 1);
        self.clients.resize_with(hosts, Default::default);
        self.processes.push(Process { host, awaits: Awaits::Nothing, call: None, done: false });
        self.processes.len() - 1
    }

    pub(crate) fn send(&mut self, process: usize, request: Request) {
        let Process { host, call, .. } = &self.processes[process];
        let sender =
            Sender { host: *host, process, call: call.as_ref().map(|call| call.id), gives_up: self.now + TIMEOUT };
        self.ledger.sent(sender.host, sender.call, &request.step);
        let message = self.network.send(sender, request);
        self.processes[process].awaits = Awaits::Reply { message, until: sender.gives_up, reply: None };
    }

    /// The reply that a process waits for.
    pub(crate) fn replied(&mut self, process: usize) -> Poll<Result<Reply, Unanswered>> {
        let Process { host, awaits, .. } = &mut self.processes[process];
        let Awaits::Reply { until, reply, .. } = awaits else { return Poll::Pending };
        let (host, until) = (*host, *until);
        match reply.take() {
            Some(reply) => Poll::Ready(reply),
            None if self.now >= until => {
                self.cut(host, true);
                Poll::Ready(Err(Unanswered::TimedOut))
            }
            None => Poll::Pending,
        }
    }

    pub(crate) fn reply(&mut self, message: u64, process: usize, what: Result<Reply, Unanswered>) {
        if let Awaits::Reply { message: awaited, reply, .. } = &mut self.processes[process].awaits
            && *awaited == message
            && reply.is_none()
        {
            *reply = Some(what);
        }
    }

    /// Whether a process can go on.
    pub(crate) fn is_ready(&self, process: usize) -> bool {
        !self.processes[process].done && self.ready_at(process).is_some_and(|ready| ready <= self.now)
    }

    /// When a process can go on, as far as only time decides.
    fn ready_at(&self, number: usize) -> Option<Micros> {
        let process = &self.processes[number];
        let client = &self.clients[process.host];
        let woken = || {
            let waiter = client.waiters.iter().find(|waiter| waiter.process == number);
            waiter.is_some_and(|waiter| waiter.look || waiter.hand_off.is_some())
        };
        let awaited = match &process.awaits {
            Awaits::Nothing | Awaits::Reply { reply: Some(_), .. } => self.now,
            Awaits::Wakeup { .. } if woken() => self.now,
            Awaits::Reply { until, .. } | Awaits::Time(until) | Awaits::Wakeup { until } => *until,
        };
        let interrupted =
            process.call.as_ref().map_or(Micros::MAX, |call| if call.cancelled { self.now } else { call.deadline });
        Some(awaited.min(interrupted).max(client.paused_until)).filter(|ready| *ready < Micros::MAX)
    }

    /// When the next process can go on that cannot yet.
    pub(crate) fn next_timer(&self) -> Option<Micros> {
        let alive = (0..self.processes.len()).filter(|process| !self.processes[*process].done);
        alive.filter_map(|process| self.ready_at(process)).filter(|ready| *ready > self.now).min()
    }
}
