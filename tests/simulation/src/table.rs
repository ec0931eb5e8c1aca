//! What the simulated server keeps. Keys, queue and marks are those of `docs/protocol.md`; all names are in one hash slot.

use std::collections::{BTreeMap, BTreeSet};

use crate::cache::Entry;

/// A moment or a span of virtual time, in microseconds.
pub type Micros = u64;

/// Microseconds in a millisecond.
pub const MILLISECOND: Micros = 1000;
/// Microseconds in a second.
pub(crate) const SECOND: Micros = 1000 * MILLISECOND;

/// How long a queue is kept after the last request of a waiter.
pub(crate) const KEEP_QUEUE: Micros = 10 * SECOND;
/// How long a client counts as reporting after a report.
pub(crate) const KEEP_CLIENT: Micros = 6 * SECOND;
/// How long a withdrawn value is refused. It is longer than any use-by.
pub(crate) const KEEP_MARK: Micros = 6 * SECOND;
/// How long an unsubscribed head is waited for after a failover, and how long there is no second grace.
pub(crate) const GRACE: Micros = SECOND;
pub(crate) const GRACE_INTERVAL: Micros = 10 * SECOND;

/// The time to live of a value that comes without one, in milliseconds.
pub const DEFAULT_TTL_MS: u64 = 30_000;

/// What the servers' wall clocks show when a world begins, in microseconds.
const EPOCH: Micros = 1_700_000_000_000_000;

/// The data of a server, and what it knows of its connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// The locks that are held.
    pub slots: BTreeMap<String, Slot>,
    /// The highest fence that was granted.
    pub counter: u64,
    /// The waiters of each name. There are no empty queues.
    pub queues: BTreeMap<String, Queue>,
    /// The clients that reported recently.
    pub clients: BTreeMap<usize, ClientKey>,
    /// Until when the head of a queue is waited for, and until when there is no second grace.
    pub graces: BTreeMap<String, (Micros, Micros)>,
    /// Until when a value is refused, by name and value.
    pub withdrawn: BTreeMap<(String, String), Micros>,
    /// The connections that are subscribed, by client.
    pub subscribed: BTreeSet<(usize, u64)>,
    /// Another one at another server.
    pub run_id: u64,
    /// How much this server's wall clock is ahead.
    pub ahead: Micros,
}

/// A lock that is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Who holds it.
    pub value: String,
    /// The fence of the grant.
    pub fence: u64,
    /// When the key expires.
    pub expires: Micros,
}

/// The waiters of a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// In the order of their tickets.
    pub entries: Vec<QueueEntry>,
    /// When the whole queue expires.
    pub expires: Micros,
}

/// A waiter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueEntry {
    /// The client that is told of the hand-off.
    pub client: usize,
    /// What is stored then.
    pub value: String,
    /// For how long.
    pub ttl_ms: u64,
    /// The server time at which the waiter came.
    pub ticket: u64,
}

/// What a client's last report has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientKey {
    /// The server at which the client reported.
    pub run_id: u64,
    /// When the client no longer counts as reporting.
    pub expires: Micros,
}

impl Table {
    /// Removes what has expired.
    pub fn expire(&mut self, now: Micros) {
        self.slots.retain(|_, slot| slot.expires > now);
        self.queues.retain(|_, queue| queue.expires > now);
        self.clients.retain(|_, client| client.expires > now);
        self.graces.retain(|_, (_, expires)| *expires > now);
        self.withdrawn.retain(|_, expires| *expires > now);
    }

    /// The clock is set forward: all that expires does so earlier.
    pub(crate) fn set_forward(&mut self, by: Micros) {
        self.ahead += by;
        let slots = self.slots.values_mut().map(|slot| &mut slot.expires);
        let queues = self.queues.values_mut().map(|queue| &mut queue.expires);
        let clients = self.clients.values_mut().map(|client| &mut client.expires);
        let graces = self.graces.values_mut().flat_map(|(ends, expires)| [ends, expires]);
        let all = slots.chain(queues).chain(clients).chain(graces).chain(self.withdrawn.values_mut());
        all.for_each(|expires| *expires = expires.saturating_sub(by));
    }

    /// The server's wall clock, in microseconds.
    #[must_use]
    pub fn wall(&self, now: Micros) -> u64 {
        EPOCH + self.ahead + now
    }

    /// What is under a key, as clients are told of it.
    #[must_use]
    pub fn entry(&self, key: &str, now: Micros) -> Option<Entry> {
        let Slot { value, fence, expires } = self.slots.get(key)?;
        Some(Entry { value: value.clone(), revision: *fence, left: expires - now })
    }

    /// Whether messages to a client go anywhere.
    #[must_use]
    pub fn is_subscribed(&self, client: usize) -> bool {
        self.subscribed.range((client, 0)..=(client, u64::MAX)).next().is_some()
    }

    /// Whether a value waits for a key.
    #[must_use]
    pub fn is_queued(&self, key: &str, value: &str) -> bool {
        self.queue_entry(key, value).is_some()
    }

    /// The entry of a waiter.
    #[must_use]
    pub fn queue_entry(&self, key: &str, value: &str) -> Option<&QueueEntry> {
        self.queues.get(key)?.entries.iter().find(|entry| entry.value == value)
    }

    /// Adds an entry, unless the value has one. Returns whether it had none.
    pub fn add_entry(&mut self, key: &str, entry: QueueEntry) -> bool {
        if self.is_queued(key, &entry.value) {
            return false;
        }
        let queue = self.queues.entry(key.to_owned()).or_default();
        let place = queue.entries.partition_point(|other| other.ticket <= entry.ticket);
        queue.entries.insert(place, entry);
        true
    }

    /// Removes an entry, and the queue with the last one.
    pub fn remove_entry(&mut self, key: &str, value: &str) {
        let Some(queue) = self.queues.get_mut(key) else { return };
        queue.entries.retain(|entry| entry.value != value);
        if queue.entries.is_empty() {
            self.queues.remove(key);
        }
    }

    /// Whether nothing is left that a lock or a waiter has put there, but for the counter.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self { slots, queues, clients, graces, withdrawn, .. } = self;
        slots.is_empty() && queues.is_empty() && clients.is_empty() && graces.is_empty() && withdrawn.is_empty()
    }
}
