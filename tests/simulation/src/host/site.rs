//! The servers of a world: one that is used, and perhaps a replica that follows it.

use std::collections::VecDeque;
use std::time::Duration;

use locker_simulated_redis::{ClientId, Persistence, Push, ReplicaId, Server, Transaction};
use redis::{RedisResult, Value};

use super::asked::Words;
use super::patch::Patch;
use super::plan::HostPlan;

/// The servers' clocks at the beginning of a world, in microseconds since 1970.
const STARTED: u64 = 1_770_000_000_000_000;

pub(super) struct Site {
    nodes: Vec<Node>,
    /// The node that serves.
    pub(super) primary: usize,
    replica: Option<ReplicaId>,
    lag: Duration,
    /// What the replica has not received yet, and when it will.
    backlog: VecDeque<(Duration, Transaction)>,
    sent: u64,
    patch: Option<Patch>,
    /// No new connection is accepted until then.
    pub(super) away_until: Duration,
    /// No request is answered until then.
    pub(super) stopped_until: Duration,
}

struct Node {
    server: Server,
    /// How much its clock is ahead, in microseconds.
    ahead: i64,
}

/// What is under the key of a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) value: String,
    pub(super) fence: u64,
    /// When it expires, in the time of the world.
    pub(super) expires: Duration,
}

impl Site {
    pub(super) fn new(plan: &HostPlan, patch: Option<Patch>) -> Self {
        let count = if plan.lag_ms.is_some() { 2 } else { 1 };
        let node = |number: u64| Node {
            server: Server::new(plan.version, plan.seed ^ number),
            ahead: if number == 0 { 0 } else { i64::try_from(plan.replica_ahead_micros).unwrap_or(0) },
        };
        let mut site = Self {
            nodes: (0..count).map(node).collect(),
            primary: 0,
            replica: None,
            lag: Duration::from_millis(plan.lag_ms.unwrap_or(0)),
            backlog: VecDeque::new(),
            sent: 0,
            patch,
            away_until: Duration::ZERO,
            stopped_until: Duration::ZERO,
        };
        site.set_clocks(Duration::ZERO);
        site.follow();
        site
    }

    pub(super) fn server(&mut self, node: usize, now: Duration) -> &mut Server {
        self.set_clocks(now);
        self.replicate(now);
        &mut self.nodes[node].server
    }

    /// Answers a request of a client.
    pub(super) fn call(&mut self, node: usize, client: ClientId, words: &Words, now: Duration) -> RedisResult<Value> {
        let patched = self.patch.as_ref().and_then(|patch| patch.applied(words));
        let reply = self.server(node, now).call(client, patched.as_ref().unwrap_or(words));
        if node == self.primary && self.replica.is_some() {
            let server = &self.nodes[node].server;
            let transactions = server.transactions_after(self.sent);
            self.sent = server.offset();
            self.backlog.extend(transactions.into_iter().map(|transaction| (now + self.lag, transaction)));
        }
        self.replicate(now);
        reply
    }

    /// The messages of all nodes, each with its node.
    pub(super) fn take_pushes(&mut self) -> Vec<(usize, Push)> {
        let nodes = self.nodes.iter_mut().enumerate();
        nodes.flat_map(|(number, node)| node.server.take_pushes().into_iter().map(move |push| (number, push))).collect()
    }

    /// What is under the key of a lock.
    pub(super) fn entry(&mut self, name: &str, now: Duration) -> Option<Entry> {
        let primary = self.primary;
        let (text, expires) = self.server(primary, now).peek(format!("lock:{name}").as_bytes())?;
        let text = String::from_utf8_lossy(text).into_owned();
        let (value, fence) = text.split_once('\u{1f}')?;
        let (value, fence) = (value.to_owned(), fence.parse().ok()?);
        let expires = self.since_start(expires.map_or(u64::MAX, |last| (last + 1) * 1000));
        Some(Entry { value, fence, expires })
    }

    fn since_start(&self, micros: u64) -> Duration {
        let ahead = self.nodes[self.primary].ahead;
        Duration::from_micros(micros.saturating_sub(STARTED.saturating_add_signed(ahead)))
    }

    /// Keys other than fence counters, and channels with subscribers.
    pub(super) fn leftovers(&mut self, now: Duration) -> Vec<String> {
        let primary = self.primary;
        let server = self.server(primary, now);
        let keys = server.keys().into_iter().filter(|key| !key.starts_with("lock:\u{1f}fence".as_bytes()));
        let left: Vec<_> = keys.chain(server.channels()).collect();
        left.iter().map(|key| String::from_utf8_lossy(key).replace('\u{1f}', "/")).collect()
    }

    /// The server that serves.
    pub(super) fn primary(&mut self, now: Duration) -> &mut Server {
        self.server(self.primary, now)
    }

    pub(super) fn all(&mut self, change: impl FnMut(&mut Server)) {
        self.nodes.iter_mut().map(|node| &mut node.server).for_each(change);
    }

    pub(super) fn step_clock(&mut self, by_ms: i64) {
        let primary = self.primary;
        self.nodes[primary].ahead += by_ms * 1000;
    }

    /// The server is killed, and does not accept connections for a while.
    pub(super) fn restart(&mut self, persistence: Persistence, now: Duration, length: Duration) {
        let primary = self.primary;
        self.server(primary, now).kill(persistence);
        self.away_until = now + length;
        self.follow();
    }

    /// The replica takes over with what it has.
    pub(super) fn fail_over(&mut self, now: Duration, length: Duration) {
        if self.nodes.len() < 2 {
            return;
        }
        let old = self.primary;
        self.server(old, now).kill(Persistence::Everything);
        self.primary = 1 - old;
        self.nodes[1 - old].server.promote();
        self.away_until = now + length;
        self.follow();
    }

    fn set_clocks(&mut self, now: Duration) {
        let micros = STARTED + u64::try_from(now.as_micros()).unwrap_or_default();
        for node in &mut self.nodes {
            node.server.set_clock(micros.saturating_add_signed(node.ahead));
        }
    }

    /// The other node copies the primary.
    fn follow(&mut self) {
        self.backlog.clear();
        if let [first, second] = &mut self.nodes[..] {
            let (primary, replica) = if self.primary == 0 { (first, second) } else { (second, first) };
            self.replica = Some(replica.server.follow(&mut primary.server));
            self.sent = primary.server.offset();
        }
    }

    fn replicate(&mut self, now: Duration) {
        let Some(replica) = self.replica else { return };
        while self.backlog.front().is_some_and(|(due, _)| *due <= now) {
            let Some((_, transaction)) = self.backlog.pop_front() else { return };
            let other = 1 - self.primary;
            self.nodes[other].server.apply(&transaction);
            let offset = self.nodes[other].server.offset();
            self.nodes[self.primary].server.confirm(replica, offset);
        }
    }
}
