//! A primary records what it writes; replicas apply it later, in the same order.

use std::collections::{BTreeMap, VecDeque};

use crate::client::ClientId;
use crate::keyspace::{Entry, Key};
use crate::pushes::Broadcast;
use crate::server::Server;
use crate::state::State;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Primary,
    /// With the number that its primary gave it.
    Replica(ReplicaId),
}

/// A replica, as its primary knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplicaId(u64);

/// What one command or one script wrote: its effects, not the script.
#[derive(Clone, Debug)]
pub struct Transaction {
    writes: Vec<(Key, Option<Entry>)>,
    messages: Vec<Broadcast>,
}

/// The transactions that some replica has not confirmed yet.
#[derive(Debug, Default)]
pub(crate) struct History {
    transactions: VecDeque<Transaction>,
    /// How many transactions there were before those.
    start: u64,
    /// How much each replica has confirmed.
    confirmed: BTreeMap<ReplicaId, u64>,
    last_replica: u64,
}

impl History {
    /// How many transactions there were.
    pub(crate) fn end(&self) -> u64 {
        self.start + u64::try_from(self.transactions.len()).unwrap_or_default()
    }

    fn push(&mut self, transaction: Transaction) {
        self.transactions.push_back(transaction);
        self.forget_confirmed();
    }

    fn forget_confirmed(&mut self) {
        let needed = self.confirmed.values().min().copied().unwrap_or(self.end());
        while self.start < needed && self.transactions.pop_front().is_some() {
            self.start += 1;
        }
    }

    fn after(&self, offset: u64) -> impl Iterator<Item = &Transaction> {
        let known = usize::try_from(offset.saturating_sub(self.start)).unwrap_or(usize::MAX);
        self.transactions.iter().skip(known)
    }
}

impl State {
    pub(crate) fn is_replica(&self) -> bool {
        matches!(self.role, Role::Replica(_))
    }

    /// Ends a step of a client: what it wrote becomes one transaction.
    pub(crate) fn commit_for(&mut self, client: ClientId) {
        let before = self.history.end();
        self.commit();
        let end = self.history.end();
        // Before Redis 7.2, `WAIT` waits for all that preceded the client's last command.
        if (end > before || self.version.is_old())
            && let Some(client) = self.clients.get_mut(&client)
        {
            client.last_write = end;
        }
    }

    /// Ends a step: what it wrote becomes one transaction.
    pub(crate) fn commit(&mut self) {
        if self.dirty.is_empty() && self.published.is_empty() {
            return;
        }
        let dirty = std::mem::take(&mut self.dirty);
        let writes = dirty.into_iter().map(|key| (key.clone(), self.keyspace.get(&key).cloned())).collect();
        let messages = std::mem::take(&mut self.published);
        if self.is_replica() {
            // What the clients of a replica publish stays there.
            return;
        }
        self.history.push(Transaction { writes, messages });
    }

    /// How many replicas have confirmed what `WAIT` waits for.
    pub(crate) fn confirmations(&self, client: ClientId) -> usize {
        let last_write = self.clients.get(&client).map_or(0, |client| client.last_write);
        self.history.confirmed.values().filter(|confirmed| **confirmed >= last_write).count()
    }

    pub(crate) fn flush(&mut self) {
        let keys: Vec<_> = self.keyspace.keys().cloned().collect();
        self.keyspace.clear();
        self.dirty.extend(keys);
    }
}

impl Server {
    /// How many transactions this server has recorded, or applied as a replica.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.state.history.end()
    }

    /// Becomes a replica with a copy of a primary's data. Its clients stay connected; what it had is lost.
    pub fn follow(&mut self, primary: &mut Self) -> ReplicaId {
        let history = &mut primary.state.history;
        let offset = history.end();
        history.last_replica += 1;
        let id = ReplicaId(history.last_replica);
        history.confirmed.insert(id, offset);
        self.state.role = Role::Replica(id);
        self.state.keyspace = primary.state.keyspace.clone();
        let last_replica = self.state.history.last_replica;
        self.state.history = History { start: offset, last_replica, ..History::default() };
        id
    }

    /// The transactions that a primary recorded after an offset, for [`Server::apply`].
    #[must_use]
    pub fn transactions_after(&self, offset: u64) -> Vec<Transaction> {
        self.state.history.after(offset).cloned().collect()
    }

    /// Applies the next transaction of the primary. Its messages reach the subscribers of this server.
    pub fn apply(&mut self, transaction: &Transaction) {
        for (key, entry) in &transaction.writes {
            match entry {
                Some(entry) => _ = self.state.keyspace.insert(key.clone(), entry.clone()),
                None => _ = self.state.keyspace.remove(key),
            }
        }
        for Broadcast { channel, message } in &transaction.messages {
            self.state.deliver(channel, message);
        }
        self.state.history.push(transaction.clone());
    }

    /// A replica tells its primary how much it has applied: its [`Server::offset`].
    pub fn confirm(&mut self, replica: ReplicaId, offset: u64) {
        if let Some(confirmed) = self.state.history.confirmed.get_mut(&replica) {
            *confirmed = offset.max(*confirmed);
        }
        self.state.history.forget_confirmed();
    }

    /// Applies all that the primary has recorded, and confirms it.
    pub fn catch_up(&mut self, primary: &mut Self) {
        for transaction in primary.transactions_after(self.offset()) {
            self.apply(&transaction);
        }
        if let Role::Replica(id) = self.state.role {
            primary.confirm(id, self.offset());
        }
    }

    /// A primary forgets a replica that is gone.
    pub fn forget_replica(&mut self, replica: ReplicaId) {
        self.state.history.confirmed.remove(&replica);
        self.state.history.forget_confirmed();
    }

    /// Makes a replica a primary with the part of the history that it has applied.
    pub fn promote(&mut self) {
        self.state.role = Role::Primary;
    }

    /// Whether this is a replica.
    #[must_use]
    pub fn is_replica(&self) -> bool {
        self.state.is_replica()
    }

    /// How many replicas have confirmed all that a client wrote. A world that simulates `WAIT` calls it when they are enough, or when
    /// the time of `WAIT` is over: the command itself never waits.
    #[must_use]
    pub fn confirmations(&self, client: ClientId) -> usize {
        self.state.confirmations(client)
    }
}
