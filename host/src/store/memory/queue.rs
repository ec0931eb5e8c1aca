//! The queue for one key.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::store::Stored;

/// The values that are to be stored under a key, first come, first served. Every step costs the same however long it is.
#[derive(Default)]
pub(super) struct Queue {
    entries: BTreeMap<u64, Arc<QueueEntry>>,
    tickets: HashMap<Arc<str>, u64>,
}

/// A value in the queue. Several callers may wait for it, if they repeat one request.
pub(super) struct QueueEntry {
    /// Its position: larger for every later entry of the store.
    pub(super) ticket: u64,
    pub(super) value: Arc<str>,
    pub(super) ttl: Duration,
    state: watch::Sender<State>,
    /// How many calls wait for it. Only changed under the lock of the table.
    callers: AtomicUsize,
}

#[derive(Clone, Copy)]
pub(super) enum State {
    Queued,
    /// It is the head of the queue, and the value that the store has now expires at this instant. Only the callers of the head
    /// wait for that.
    Head(Instant),
    /// The store has the value, and no caller knows yet.
    Stored(Stored),
    /// A caller knows.
    Owned(Stored),
    Withdrawn,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Adds a caller to the entry with this value: the one that is in the queue, or a new one at its end.
    pub(super) fn enqueue(&mut self, value: &str, ttl: Duration, ticket: u64) -> Arc<QueueEntry> {
        let queued = self.tickets.get(value).and_then(|ticket| self.entries.get(ticket));
        let entry = queued.cloned().unwrap_or_else(|| {
            let (value, state) = (Arc::<str>::from(value), watch::Sender::new(State::Queued));
            let entry = Arc::new(QueueEntry { ticket, value: value.clone(), ttl, state, callers: AtomicUsize::new(0) });
            self.tickets.insert(value, ticket);
            self.entries.insert(ticket, entry.clone());
            entry
        });
        entry.callers.fetch_add(1, Ordering::Relaxed);
        entry
    }

    /// Takes the head out of the queue.
    pub(super) fn pop(&mut self) -> Option<Arc<QueueEntry>> {
        let (_, entry) = self.entries.pop_first()?;
        self.tickets.remove(&entry.value);
        Some(entry)
    }

    pub(super) fn remove(&mut self, ticket: u64) {
        if let Some(entry) = self.entries.remove(&ticket) {
            self.tickets.remove(&entry.value);
        }
    }

    /// Removes a value whose caller went away.
    pub(super) fn withdraw(&mut self, value: &str) {
        let entry = self.tickets.remove(value).and_then(|ticket| self.entries.remove(&ticket));
        if let Some(entry) = entry {
            entry.state.send_replace(State::Withdrawn);
        }
    }

    /// Tells the head when the value that the store has now expires. It wakes up only if that is sooner than it knows.
    pub(super) fn update_head(&self, expires: Instant) {
        if let Some((_, head)) = self.entries.first_key_value() {
            head.state.send_if_modified(|state| {
                let later = matches!(state, State::Head(known) if *known <= expires);
                *state = State::Head(expires);
                !later
            });
        }
    }
}

impl QueueEntry {
    pub(super) fn subscribe(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// Removes a caller, and answers whether it was the last one.
    pub(super) fn remove_caller(&self) -> bool {
        self.callers.fetch_sub(1, Ordering::Relaxed) == 1
    }

    pub(super) fn state(&self) -> State {
        *self.state.borrow()
    }

    pub(super) fn hand_over(&self, stored: Stored) {
        self.state.send_replace(State::Stored(stored));
    }

    pub(super) fn own(&self, stored: Stored) {
        self.state.send_replace(State::Owned(stored));
    }
}
