//! A world: a server, clients, what is on its way between them, and the one clock that they all go by.
//!
//! Nothing here decides anything. The scheduler says what happens next, and the world makes it so.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Display;
use std::pin::Pin;
use std::sync::Arc;

use crate::client::Client;
use crate::ledger::{Effect, Ledger};
use crate::network::{Message, Network};
use crate::process::{Orphan, Process, Unanswered};
use crate::request::{Applied, Notice, Outcome, Reply, Step};
use crate::rules::{Rules, Script};
use crate::table::{MILLISECOND, Micros, Table};

/// How long it takes until a server is back, or a replica has taken over; the servers' clocks differ by less.
pub(crate) const TAKEOVER: Micros = 500 * MILLISECOND;
/// How many of its writes a replica may lag behind.
const LAG: usize = 3;

pub(crate) type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

pub(crate) struct World {
    pub(crate) now: Micros,
    pub(crate) table: Table,
    rules: Arc<dyn Rules>,
    pub(crate) network: Network,
    pub(crate) clients: Vec<Client>,
    pub(crate) processes: Vec<Process>,
    /// What begins to run in the background.
    pub(crate) spawned: Vec<Task>,
    /// Values that a message has told of and no caller awaits, by host.
    pub(crate) unawaited: Vec<(usize, Orphan)>,
    pub(crate) ledger: Ledger,
    /// What has happened, if it is to be told.
    pub(crate) trace: Option<Vec<String>>,
    /// What a lock guards: the highest fence seen under each name.
    guarded: BTreeMap<String, u64>,
    /// Whether a client still knows the clock of a server that it connects to again.
    clocks_stay_known: bool,
    /// What the server held before its last writes.
    past: VecDeque<Table>,
    minted: u64,
}

impl World {
    pub(crate) fn new(rules: Arc<dyn Rules>, traced: bool) -> Self {
        Self {
            now: MILLISECOND,
            table: Table::default(),
            rules,
            network: Network::default(),
            clients: Vec::new(),
            processes: Vec::new(),
            spawned: Vec::new(),
            unawaited: Vec::new(),
            ledger: Ledger::default(),
            trace: traced.then(Vec::new),
            guarded: BTreeMap::new(),
            clocks_stay_known: false,
            past: VecDeque::new(),
            minted: 0,
        }
    }

    pub(crate) fn tell(&mut self, host: usize, what: impl Display) {
        let (now, name) = (self.now, name_of(host));
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>10}.{:03} ms  {name}  {what}", now / 1000, now % 1000));
        }
    }

    /// Bytes that no caller has been given before. They differ in the end only, so that comparing less than all shows.
    pub(crate) fn mint(&mut self) -> u64 {
        self.minted += 1;
        self.minted
    }

    /// Ends a client's connection. What was on its way through it arrives late, or else is lost.
    pub(crate) fn cut(&mut self, host: usize, late: bool) {
        let connection = self.network.connection(host);
        for (message, process) in self.network.cut(host, late) {
            self.reply(message, process, Err(Unanswered::Lost));
        }
        self.clients[host].disconnect(self.clocks_stay_known);
        self.close(host, connection);
    }

    /// The server notices the end of a connection once it has read all of it.
    fn close(&mut self, host: usize, connection: u64) {
        if !self.network.is_current(host, connection) && !self.network.has_more(host, connection) {
            self.table.subscribed.remove(&(host, connection));
        }
    }

    /// The server takes what a message asks for, and its reply is on the client's machine.
    pub(crate) fn deliver(&mut self, index: usize) {
        let message = self.network.take(index);
        let (id, process, host, connection) = (message.id, message.process, message.host, message.connection);
        if let Some(reply) = self.apply(message, Some(index)) {
            self.reply(id, process, Ok(reply));
        }
        while self.network.is_copy_of(index, id) {
            let copy = self.network.take(index);
            self.apply(copy, Some(index));
        }
        self.close(host, connection);
    }

    /// The server takes what a message asks for, and the connection is lost before the reply arrives.
    pub(crate) fn deliver_unanswered(&mut self, index: usize) {
        let message = self.network.take(index);
        let (id, process, host) = (message.id, message.process, message.host);
        self.reply(id, process, Err(Unanswered::Lost));
        self.apply(message, None);
        self.cut(host, false);
    }

    fn apply(&mut self, message: Message, place: Option<usize>) -> Option<Reply> {
        self.table.expire(self.now);
        let key = message.request.step.key().to_owned();
        let live = self.live_waiters(&key);
        let mut before = self.table.clone();
        let (applied, published) = self.execute(&message);
        if self.trace.is_some() {
            let told = crate::trace::applied(&message, &applied);
            self.tell(message.host, told);
        }
        let effect = Effect { now: self.now, message: &message, before: &before, live: &live, applied: &applied };
        self.ledger.applied(&effect, &self.table);
        published.into_iter().for_each(|notice| self.publish(notice));
        before.subscribed.clone_from(&self.table.subscribed);
        if before != self.table {
            self.past.push_front(before);
            self.past.truncate(LAG);
        }
        match applied {
            Applied::Outcome(outcome) => Some(Reply { time: self.table.wall(self.now), outcome }),
            Applied::Then(step) => {
                self.network.put_back(place, message.asking(step));
                None
            }
        }
    }

    fn execute(&mut self, message: &Message) -> (Applied, Vec<Notice>) {
        let Message { host, connection, request, .. } = message;
        if let Step::Write { key, fence, grant } = &request.step {
            let highest = self.guarded.entry(key.clone()).or_default();
            let taken = *fence >= *highest;
            if taken {
                *highest = *fence;
                self.ledger.written(key, *grant);
            }
            return (Applied::Outcome(Outcome::Written(taken)), Vec::new());
        }
        let (table, published) = (&mut self.table, Vec::new());
        let mut script = Script { table, now: self.now, client: *host, connection: *connection, published };
        let applied = self.rules.apply(&mut script, request);
        (applied, script.published)
    }

    /// Every subscribed connection of the client gets the message; those that are gone lose it.
    fn publish(&mut self, notice: Notice) {
        let alive = !self.ledger.gone.contains_key(&notice.client);
        let ours = self.table.subscribed.iter().filter(|(client, _)| alive && *client == notice.client);
        for (_, connection) in ours.copied().collect::<Vec<_>>() {
            self.network.publish(connection, notice.clone());
        }
    }

    /// A message of the server arrives. With `once_more`, it will arrive again.
    pub(crate) fn hear(&mut self, index: usize, once_more: bool) {
        let push = self.network.pushes.remove(index);
        if once_more {
            self.network.pushes.insert(index, push.clone());
        }
        let (host, key) = (push.notice.client, push.notice.key.clone());
        if self.trace.is_some() {
            let told = crate::trace::heard(&push.notice);
            self.tell(host, told);
        }
        if let Some(value) = self.clients[host].hear(push.notice) {
            let expired = self.ledger.longest.get(&value).copied().unwrap_or(0);
            self.unawaited.push((host, Orphan { key, value, expired }));
        }
    }

    /// The server forgets all that it knew, while it is started again.
    pub(crate) fn restart_empty(&mut self) {
        self.now += TAKEOVER;
        self.table = Table { ahead: self.table.ahead, run_id: self.table.run_id + 1, ..Table::default() };
        self.taken_over();
    }

    /// How many replicas there are to choose from: each lags behind more than the one before. The first does not lag.
    pub(crate) fn replicas(&self) -> usize {
        self.past.len() + 1
    }

    /// A replica takes over. Its clock may be behind by all the time that this took.
    pub(crate) fn fail_over(&mut self, replica: usize) {
        self.now += TAKEOVER;
        let ahead = self.table.ahead.saturating_sub(TAKEOVER - MILLISECOND);
        let run_id = self.table.run_id + 1;
        let replicated = replica.checked_sub(1).and_then(|replica| self.past.get(replica)).unwrap_or(&self.table);
        self.table = Table { ahead, run_id, subscribed: std::collections::BTreeSet::new(), ..replicated.clone() };
        self.taken_over();
    }

    fn taken_over(&mut self) {
        self.past.clear();
        self.table.expire(self.now);
        for host in 0..self.network.hosts() {
            self.cut(host, true);
            self.clients[host].clock = None;
        }
        self.ledger.broke(self.now, &self.table);
        self.ledger.took_over = Some(self.now);
    }

    /// The server's clock is set forward: what expires does so earlier.
    pub(crate) fn set_clock_forward(&mut self, by: Micros) {
        self.table.set_forward(by);
        self.table.expire(self.now);
        self.past.clear();
        self.ledger.broke(self.now, &self.table);
    }

    /// A client's process is gone, with all that ran in it. What it has sent is on its way. With its whole machine gone, the server does
    /// not notice.
    pub(crate) fn crash(&mut self, host: usize, noticed: bool) {
        for process in self.processes.iter_mut().filter(|process| process.host == host) {
            process.done = true;
        }
        self.clients[host] = Client::default();
        self.network.pushes.retain(|push| push.notice.client != host);
        self.ledger.crashed(self.now, host);
        if noticed {
            self.cut(host, true);
        }
    }

    /// Every client knows the server's clock, until another server takes over.
    pub(crate) fn read_all_clocks(&mut self) {
        self.clocks_stay_known = true;
        let (now, time) = (self.now, self.table.wall(self.now));
        for client in &mut self.clients {
            client.clock = Some(crate::client::Reading { sent: now, received: now, time });
        }
    }

    /// When the first key expires.
    pub(crate) fn next_expiry(&self) -> Option<Micros> {
        self.table.slots.values().map(|slot| slot.expires).filter(|expires| *expires > self.now).min()
    }
}

/// What a client is called in a trace.
pub(crate) fn name_of(host: usize) -> char {
    u8::try_from(host).map_or('?', |host| char::from(b'A' + host))
}
