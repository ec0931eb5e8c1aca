//! The waiters of this process: what they wait for, and when they look next.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::failure::Failure;
use super::seat::{Ending, Seat, Shared};
use crate::store::Stored;
use crate::time::{Moment, after};

/// How long after the end of a lease the head of the queue looks.
const EXPIRY_DELAY: Duration = Duration::from_millis(1);
/// How much later each waiter behind it looks, and how much later at most.
const STAGGER: Duration = Duration::from_millis(20);
const MAX_STAGGER: Duration = Duration::from_secs(2);
/// How often the head looks without a reason, in case that files were removed or a process was stopped, and how much more rarely each waiter behind it.
const INTERVAL: Duration = Duration::from_secs(2);
const INTERVAL_STEP: Duration = Duration::from_millis(100);

#[derive(Default)]
pub(super) struct Waiters {
    groups: BTreeMap<u64, Group>,
    ids: BTreeMap<(Arc<str>, Arc<str>), u64>,
    due: BTreeSet<(Instant, u64)>,
    last_id: u64,
    last_seat: u64,
}

/// The calls that wait for one value.
pub(super) struct Group {
    pub(super) shared: Arc<Shared>,
    pub(super) ttl: Duration,
    pub(super) ticket: u64,
    seats: Vec<(u64, oneshot::Sender<Ending>)>,
    due: Instant,
}

impl Waiters {
    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    pub(super) fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    pub(super) fn get(&self, id: u64) -> Option<&Group> {
        self.groups.get(&id)
    }

    pub(super) fn find(&self, key: &Arc<str>, value: &Arc<str>) -> Option<u64> {
        self.ids.get(&(key.clone(), value.clone())).copied()
    }

    pub(super) fn add(&mut self, shared: Arc<Shared>, ttl: Duration, ticket: u64, due: Instant) -> Seat {
        let id = shared.id;
        self.ids.insert((shared.key.clone(), shared.value.clone()), id);
        self.due.insert((due, id));
        self.last_seat += 1;
        let (seat, sender) = Seat::new(shared.clone(), self.last_seat);
        self.groups.insert(id, Group { shared, ttl, ticket, seats: vec![(self.last_seat, sender)], due });
        seat
    }

    /// One call more that waits for the value.
    pub(super) fn join(&mut self, id: u64) -> Option<Seat> {
        let group = self.groups.get_mut(&id)?;
        self.last_seat += 1;
        let (seat, sender) = Seat::new(group.shared.clone(), self.last_seat);
        group.seats.push((self.last_seat, sender));
        Some(seat)
    }

    /// Whether the call still waits, and was not told how its wait ended.
    pub(super) fn has_seat(&self, id: u64, seat: u64) -> bool {
        self.groups.get(&id).is_some_and(|group| group.seats.iter().any(|(number, _)| *number == seat))
    }

    /// Whether the call is the last one that waits.
    pub(super) fn is_last(&self, id: u64, seat: u64) -> bool {
        self.groups
            .get(&id)
            .is_none_or(|group| group.seats.iter().all(|(number, caller)| *number == seat || caller.is_closed()))
    }

    pub(super) fn leave(&mut self, id: u64, seat: u64) {
        if let Some(group) = self.groups.get_mut(&id) {
            group.seats.retain(|(number, _)| *number != seat);
        }
        if self.is_last(id, seat) {
            self.remove(id);
        }
    }

    /// The value is stored: all of its callers know.
    pub(super) fn granted(&mut self, id: u64, stored: Stored) {
        self.end(id, &Ok(stored));
    }

    pub(super) fn withdrawn(&mut self, id: u64) {
        self.end(id, &Err(Failure::unavailable("the request was withdrawn while it waited")));
    }

    pub(super) fn remove(&mut self, id: u64) {
        if let Some(Group { shared, due, .. }) = self.groups.remove(&id) {
            self.due.remove(&(due, id));
            let value = (shared.key.clone(), shared.value.clone());
            if self.ids.get(&value) == Some(&id) {
                self.ids.remove(&value);
            }
        }
    }

    fn end(&mut self, id: u64, ending: &Ending) {
        let seats = self.groups.get_mut(&id).map(|group| std::mem::take(&mut group.seats)).unwrap_or_default();
        for (_, seat) in seats {
            // A caller that went away has abandoned its seat, which withdraws the value.
            _ = seat.send(ending.clone());
        }
        self.remove(id);
    }

    /// Looks again at this time.
    pub(super) fn look_at(&mut self, id: u64, due: Instant) {
        if let Some(group) = self.groups.get_mut(&id) {
            self.due.remove(&(group.due, id));
            group.due = due;
            self.due.insert((due, id));
        }
    }

    pub(super) fn all(&self) -> Vec<u64> {
        self.groups.keys().copied().collect()
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Some of those that are due.
    pub(super) fn due(&self, now: Instant, most: usize) -> Vec<u64> {
        self.due.iter().take_while(|(due, _)| *due <= now).take(most).map(|(_, id)| *id).collect()
    }
}

impl Group {
    /// Whether no call waits any more.
    pub(super) fn is_abandoned(&self) -> bool {
        self.seats.iter().all(|(_, caller)| caller.is_closed())
    }
}

/// When a waiter looks that has so many others ahead.
pub(super) fn due(moment: Moment, expires: u64, ahead: usize) -> Instant {
    let ahead = u32::try_from(ahead).unwrap_or(u32::MAX);
    let stagger = STAGGER.saturating_mul(ahead).min(MAX_STAGGER);
    let interval = INTERVAL.saturating_add(INTERVAL_STEP.saturating_mul(ahead));
    (moment.instant_of(expires) + EXPIRY_DELAY + stagger).min(after(moment.instant, interval))
}
