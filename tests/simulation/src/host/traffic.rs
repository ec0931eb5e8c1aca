//! How requests, replies and messages pass between the processes and the servers.

use std::sync::Arc;
use std::time::Duration;

use locker_simulated_redis::ClientId;
use redis::{RedisError, RedisResult, Value};
use tokio::sync::mpsc::UnboundedSender;

use super::asked::{Asked, Words, outcome, told};
use super::invariants::HostInvariant::EveryCallEnds;
use super::links::Down;
use super::network::Connection;
use super::plan::LOCK_NAMES;
use super::variants::Flaw;
use super::world::{Downstream, State, World};

/// More than any world needs.
const MAX_REQUESTS: usize = 50_000;
/// The longest that a connection is slow, or its last requests are late.
const LONGEST_MS: u64 = 6_500;

impl World {
    /// How long a request or a reply takes.
    pub(super) fn latency(&self, process: usize) -> Duration {
        let most = self.plan.network.latency_ms * 1000;
        let micros = self.link(process, |link| link.rng.u64(most / 2..=most));
        Duration::from_micros(micros)
    }

    /// How long the network of a process hangs still, if it does.
    pub(super) fn hangs(&self, process: usize) -> Option<Duration> {
        let (now, until) = (self.now(), self.link(process, |link| link.hangs_until));
        (until > now).then(|| until - now)
    }

    /// How long requests of a process are stalled still, if they are.
    pub(super) fn stalls(&self, process: usize, connection: Option<(usize, ClientId)>) -> Option<Duration> {
        let (now, hangs) = (self.now(), self.link(process, |link| link.hangs_until));
        let state = self.state();
        let late = connection.and_then(|connection| state.late.get(&connection)).copied().unwrap_or_default();
        let until = hangs.max(state.site.stopped_until).max(late);
        (until > now).then(|| until - now)
    }

    /// The server accepts a connection, if it is there.
    pub(super) fn accept(&self) -> Option<(usize, ClientId)> {
        let now = self.now();
        let state = &mut *self.state();
        let node = state.site.primary;
        (state.site.away_until <= now).then(|| (node, state.site.server(node, now).connect()))
    }

    pub(super) fn connected(&self, connection: &Arc<Connection>, down: UnboundedSender<(Duration, Down)>) {
        let process = connection.process;
        self.link(process, |link| link.connection = Arc::downgrade(connection));
        self.state().downs.insert((connection.node, connection.client), Downstream { process, down });
    }

    /// The server closes a connection.
    pub(super) fn closed(&self, node: usize, client: ClientId) {
        let now = self.now();
        let state = &mut *self.state();
        state.site.server(node, now).disconnect(client);
        state.downs.remove(&(node, client));
        state.late.remove(&(node, client));
    }

    /// What happens to a connection at random as a request is sent.
    pub(super) fn suffers(&self, process: usize) {
        let habits = self.plan.network;
        if habits.delayed + habits.broken == 0 || self.state().calm {
            return;
        }
        let (odds, ms) = self.link(process, |link| (link.rng.u64(0..1000), link.rng.u64(0..LONGEST_MS)));
        if odds < habits.broken {
            self.breaks(process, Duration::from_millis(ms));
        } else if odds < habits.broken + habits.delayed {
            self.hangs_for(process, Duration::from_millis(ms / 2));
        }
    }

    /// The connection of a process breaks. What it sent arrives later.
    pub(super) fn breaks(&self, process: usize, late: Duration) {
        let now = self.now();
        let connection = self.link(process, |link| std::mem::take(&mut link.connection)).upgrade();
        self.ledger(|ledger, now| ledger.disturbed(Some(process), now + late));
        if let Some(connection) = connection {
            self.state().late.insert((connection.node, connection.client), now + late);
            connection.disconnect();
        }
    }

    pub(super) fn hangs_for(&self, process: usize, length: Duration) {
        self.tell(|| format!("the connection of p{process} hangs for {length:?}"));
        let until = self.now() + length;
        self.link(process, |link| link.hangs_until = link.hangs_until.max(until));
        self.ledger(|ledger, now| ledger.disturbed(Some(process), now + length));
    }

    /// All connections end, from the server's side.
    pub(super) fn cut_all(&self) {
        let links: Vec<_> = self.state().links.keys().copied().collect();
        for process in links {
            if let Some(connection) = self.link(process, |link| std::mem::take(&mut link.connection)).upgrade() {
                self.closed(connection.node, connection.client);
                connection.disconnect();
            }
        }
    }

    /// The server does what is asked. None if the connection does not exist there any more.
    pub(super) fn execute(
        &self,
        (process, node, client): (usize, usize, ClientId),
        words: &Words,
    ) -> Option<RedisResult<Value>> {
        let (now, asked) = (self.now(), Asked::of(words));
        let state = &mut *self.state();
        observe(state, now);
        let before = asked.lock().and_then(|name| state.site.entry(name, now));
        let answer = state.site.call(node, client, words, now);
        if answer.as_ref().is_err_and(RedisError::is_io_error) {
            return None;
        }
        if let Some(trace) = &mut state.trace {
            let reply = answer.as_ref().map_or_else(ToString::to_string, told);
            trace.push(format!("{:>9.3} p{process} -> {asked}: {reply}", now.as_secs_f64() * 1000.0));
        }
        state.ledger.executed(process, &asked, answer.as_ref().ok(), now);
        observe(state, now);
        let changes = answer.as_ref().is_ok_and(|reply| outcome(reply).is_some_and(|outcome| outcome != "late"));
        if node == state.site.primary && changes {
            let channels = state.site.primary(now).channels();
            state.ledger.check_hand_off(&asked, before.as_ref(), &channels, now);
        }
        self.send_pushes(state, now);
        state.requests += 1;
        if state.requests > MAX_REQUESTS {
            state.ledger.violated(EveryCallEnds, "there is no end of requests".to_owned());
        }
        if state.ledger.violation.is_some() {
            self.stop.notify_one();
        }
        Some(answer)
    }

    fn send_pushes(&self, state: &mut State, now: Duration) {
        let at = now + Duration::from_millis(self.plan.network.latency_ms);
        for (node, push) in state.site.take_pushes() {
            if self.flaw() == Some(Flaw::LosesPushes) {
                continue;
            }
            let mut to = state.downs.get(&(node, push.client)).cloned();
            if self.flaw() == Some(Flaw::PushesToOthers) {
                let others =
                    state.downs.values().find(|other| to.as_ref().is_none_or(|to| to.process != other.process));
                to = others.cloned().or(to);
            }
            if let Some(to) = to {
                _ = to.down.send((at, Down::Push(push)));
            }
        }
    }
}

/// Notes what the server has under the keys of all locks.
pub(super) fn observe(state: &mut State, now: Duration) {
    for name in LOCK_NAMES {
        let entry = state.site.entry(name, now);
        state.ledger.observed(name, entry, now);
    }
}
