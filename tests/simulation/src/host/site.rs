//! A site of a world: the server that is used there, and perhaps a replica that follows it.

use std::collections::VecDeque;
use std::time::Duration;

use locker_simulated_redis::{ClientId, Cluster, Persistence, Push, ReplicaId, Server, Transaction};
use redis::{RedisResult, Value};

use super::asked::Words;
use super::patch::Patch;
use super::plan::{Clock, HostPlan};

/// The time at the beginning of a world, in microseconds since 1970.
pub(super) const STARTED: u64 = 1_770_000_000_000_000;

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
    clock: Clock,
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
    pub(super) fn new(plan: &HostPlan, number: usize, patch: Option<Patch>) -> Self {
        let count = if plan.lag_ms.is_some() { 2 } else { 1 };
        let clock = plan.clocks[number];
        let replica_ahead = i64::try_from(plan.replica_ahead_micros).unwrap_or(0);
        let node = |replica: u64| Node {
            server: Server::new(plan.version, plan.seed ^ (replica + 2 * number as u64)),
            clock: if replica == 0 {
                clock
            } else {
                Clock { ahead_micros: clock.ahead_micros + replica_ahead, ..clock }
            },
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
        if plan.is_cluster() {
            let nodes: Vec<_> = (0..plan.clocks.len()).map(cluster_node).collect();
            site.all(|server| server.set_cluster(Cluster::divided(nodes.clone(), number)));
        }
        site.set_clocks(Duration::ZERO);
        site.follow();
        site
    }

    pub(super) fn server(&mut self, node: usize, now: Duration) -> &mut Server {
        self.set_clocks(now);
        self.replicate(now);
        &mut self.nodes[node].server
    }

    /// How many replicas have confirmed what a client wrote, and when there may be more.
    pub(super) fn confirmations(&mut self, node: usize, client: ClientId, now: Duration) -> (usize, Option<Duration>) {
        let confirmed = self.server(node, now).confirmations(client);
        (confirmed, self.backlog.front().map(|(due, _)| *due))
    }

    /// Answers a request of a client.
    pub(super) fn call(&mut self, node: usize, client: ClientId, words: &Words, now: Duration) -> RedisResult<Value> {
        let patched = self.patch.as_ref().and_then(|patch| patch.applied(words));
        let reply = self.server(node, now).call(client, patched.as_ref().unwrap_or(words));
        self.send_to_replica(now);
        reply
    }

    /// Sends to the replica what the primary has written.
    pub(super) fn send_to_replica(&mut self, now: Duration) {
        if self.replica.is_some() {
            let server = &self.nodes[self.primary].server;
            let transactions = server.transactions_after(self.sent);
            self.sent = server.offset();
            self.backlog.extend(transactions.into_iter().map(|transaction| (now + self.lag, transaction)));
        }
        self.replicate(now);
    }

    /// What the primary knows of the cluster.
    pub(super) fn cluster(&mut self) -> Option<&Cluster> {
        self.nodes[self.primary].server.cluster().map(|cluster| &*cluster)
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
        self.nodes[self.primary].clock.since_start(micros)
    }

    /// The fence counters with their fences.
    pub(super) fn fences(&mut self, now: Duration) -> Vec<(Vec<u8>, u64)> {
        let server = self.primary(now);
        let fence = |key: Vec<u8>| {
            let text = std::str::from_utf8(server.peek(&key)?.0).ok()?;
            let fence = text.parse().ok()?;
            Some((key, fence))
        };
        server.keys().into_iter().filter(|key| is_fence(key)).filter_map(fence).collect()
    }

    /// Keys other than fence counters, and channels with subscribers.
    pub(super) fn leftovers(&mut self, now: Duration) -> Vec<String> {
        let primary = self.primary;
        let server = self.server(primary, now);
        let keys = server.keys().into_iter().filter(|key| !is_fence(key));
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
        self.nodes[primary].clock.ahead_micros += by_ms * 1000;
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

    /// Whether the replica's clock shows what the primary's does.
    pub(super) fn clocks_agree(&self) -> bool {
        self.nodes.iter().all(|node| node.clock == self.nodes[0].clock)
    }

    fn set_clocks(&mut self, now: Duration) {
        for node in &mut self.nodes {
            node.server.set_clock(node.clock.shows(now));
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

/// A node of a cluster, with its replica.
fn cluster_node(number: usize) -> locker_simulated_redis::Node {
    let port = 7_000 + u16::try_from(number).unwrap_or_default();
    locker_simulated_redis::Node { id: format!("{number:040x}"), host: "simulated".to_owned(), port, replicates: None }
}

fn is_fence(key: &[u8]) -> bool {
    key.starts_with("lock:\u{1f}fence".as_bytes())
}

impl Clock {
    /// What it shows, in microseconds since 1970.
    fn shows(self, now: Duration) -> u64 {
        let passed = i64::try_from(now.as_micros()).unwrap_or(i64::MAX);
        STARTED.saturating_add_signed(self.ahead_micros + passed + passed * self.drift / 1_000_000)
    }

    /// When it shows this, in the time of the world.
    fn since_start(self, micros: u64) -> Duration {
        let shown = micros.saturating_sub(STARTED.saturating_add_signed(self.ahead_micros));
        let rate = u128::try_from(1_000_000 + self.drift).unwrap_or(1_000_000);
        Duration::from_micros(u64::try_from(u128::from(shown) * 1_000_000 / rate).unwrap_or(u64::MAX))
    }
}
