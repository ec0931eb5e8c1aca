//! The keys of a memory store, and the steps that change them.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::queue::{Queue, QueueEntry, State};
use crate::store::{CacheError, DeleteOutcome, Entry, ErrorKind, ExtendOutcome, SetOutcome, Stored, Vote, VoteOutcome};
use crate::time::WallClock;

#[derive(Default)]
pub(super) struct Table {
    slots: HashMap<Arc<str>, Slot>,
    /// The same keys by the time they expire, so that expired ones are found without a scan.
    expiries: BTreeSet<(Instant, Arc<str>)>,
    pub(super) clock: WallClock,
    last_revision: u64,
    last_ticket: u64,
    /// Notifies those that listen for changes of any key.
    pub(super) changes: Arc<Notify>,
    /// The values that were withdrawn a short time ago, and until when they are refused.
    withdrawn: VecDeque<(Instant, Box<str>, Box<str>)>,
}

/// Longer than a quorum waits for a member.
const KEEP_WITHDRAWN: Duration = Duration::from_secs(6);

pub(super) struct Slot {
    value: Arc<str>,
    revision: u64,
    /// The revision of the last vote of a later call for which this value counts, or 0.
    resumed: u64,
    pub(super) expires: Instant,
    /// Made by the first caller that waits. A key without a value has no queue: the step that frees it gives it to the head.
    queue: Option<Box<Queue>>,
    /// Made by the first caller that watches the key.
    changed: Option<Arc<Notify>>,
}

/// The first step of a call that waits.
pub(super) enum FirstStep {
    Stored(Stored),
    Queued(Arc<QueueEntry>),
}

impl Table {
    /// Removes the values that have expired by `now`.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some((_, key)) = self.expiries.first().filter(|(expires, _)| *expires <= now) {
            let key = key.clone();
            self.free(&key, now);
        }
    }

    pub(super) fn set_if_absent(
        &mut self,
        key: &str,
        value: &str,
        ttl: Duration,
        now: Instant,
    ) -> Result<SetOutcome, CacheError> {
        if let Some(slot) = self.slots.get(key) {
            return Ok(if *slot.value == *value {
                SetOutcome::Stored(slot.stored())
            } else {
                SetOutcome::Occupied(slot.entry(now))
            });
        }
        let (expires, revision) = (expiry(now, ttl)?, self.next_revision());
        Ok(SetOutcome::Stored(self.insert(key.into(), value.into(), revision, expires, None)))
    }

    /// Stores the value as [`Table::set_if_absent`] does, or puts it into the queue.
    pub(super) fn set_or_enqueue(
        &mut self,
        key: &str,
        value: &str,
        ttl: Duration,
        now: Instant,
    ) -> Result<FirstStep, CacheError> {
        let (expires, ticket) = (expiry(now, ttl)?, self.last_ticket + 1);
        if let Some(slot) = self.slots.get_mut(key) {
            if *slot.value == *value {
                return Ok(FirstStep::Stored(slot.stored()));
            }
            self.last_ticket = ticket;
            let queue = slot.queue.get_or_insert_default();
            let entry = queue.enqueue(value, ttl, ticket);
            queue.update_head(slot.expires);
            return Ok(FirstStep::Queued(entry));
        }
        let revision = self.next_revision();
        Ok(FirstStep::Stored(self.insert(key.into(), value.into(), revision, expires, None)))
    }

    pub(super) fn extend_if_equal(
        &mut self,
        key: &str,
        value: &str,
        ttl: Duration,
        now: Instant,
    ) -> Result<ExtendOutcome, CacheError> {
        let Some(slot) = self.slots.get_mut(key) else { return Ok(ExtendOutcome::Absent) };
        if *slot.value != *value {
            return Ok(ExtendOutcome::Different);
        }
        let expires = expiry(now, ttl)?;
        let mut place = (slot.expires, Arc::from(key));
        self.expiries.remove(&place);
        place.0 = expires;
        self.expiries.insert(place);
        slot.expires = expires;
        if let Some(queue) = &slot.queue {
            queue.update_head(expires);
        }
        if let Some(changed) = &slot.changed {
            changed.notify_waiters();
        }
        Ok(ExtendOutcome::Extended(slot.stored()))
    }

    pub(super) fn replace_if_equal(
        &mut self,
        key: &str,
        value: &str,
        replacement: &str,
        ttl: Duration,
        now: Instant,
    ) -> Result<ExtendOutcome, CacheError> {
        let replaced = self.slots.get(key).is_some_and(|slot| *slot.value == *replacement);
        let outcome = self.extend_if_equal(key, if replaced { replacement } else { value }, ttl, now)?;
        if let (ExtendOutcome::Extended(_), Some(slot)) = (outcome, self.slots.get_mut(key)) {
            slot.value = replacement.into();
            slot.resumed = if replaced { slot.resumed } else { 0 };
            self.changes.notify_waiters();
        }
        Ok(outcome)
    }

    pub(super) fn delete_if_equal(&mut self, key: &str, value: &str, now: Instant) -> DeleteOutcome {
        match self.slots.get(key) {
            None => DeleteOutcome::Absent,
            Some(slot) if *slot.value != *value => DeleteOutcome::Different,
            Some(_) => {
                self.free(key, now);
                DeleteOutcome::Deleted
            }
        }
    }

    /// Removes the value from the key and from its queue, and refuses late votes for it.
    pub(super) fn withdraw(&mut self, key: &str, value: &str, now: Instant) {
        while self.withdrawn.pop_front_if(|(until, ..)| *until <= now).is_some() {}
        self.withdrawn.push_back((now + KEEP_WITHDRAWN, key.into(), value.into()));
        if self.delete_if_equal(key, value, now) == DeleteOutcome::Different {
            self.change_queue(key, |queue| queue.withdraw(value));
        }
    }

    /// Ends one of the calls that wait for `entry`; `owned` says that it answers that the value is stored.
    pub(super) fn leave(&mut self, key: &str, entry: &QueueEntry, owned: bool, now: Instant) {
        let last = entry.remove_caller();
        match entry.state() {
            State::Queued | State::Head(_) if last => self.change_queue(key, |queue| queue.remove(entry.ticket)),
            State::Stored(stored) if owned => entry.own(stored),
            // The value was handed over while its caller went away.
            State::Stored(_) if last => _ = self.delete_if_equal(key, &entry.value, now),
            _ => {}
        }
    }

    pub(super) fn get(&self, key: &str, now: Instant) -> Option<Entry> {
        self.slots.get(key).map(|slot| slot.entry(now))
    }

    pub(super) fn keys(&self) -> Vec<String> {
        let mut keys: Vec<_> = self.slots.keys().map(ToString::to_string).collect();
        keys.sort_unstable();
        keys
    }

    /// When the value of `key` expires, and a notification of anything that changes that.
    pub(super) fn watch(&mut self, key: &str) -> Option<(Instant, Arc<Notify>)> {
        self.slots.get_mut(key).map(|slot| (slot.expires, slot.changed.get_or_insert_default().clone()))
    }

    pub(super) fn vote(&mut self, key: &str, vote: Vote<'_>, now: Instant) -> Result<VoteOutcome, CacheError> {
        let Vote { value, ttl, revision, since } = vote;
        if let Some(slot) = self.slots.get_mut(key) {
            if *slot.value != *value {
                return Ok(VoteOutcome::Occupied(slot.entry(now)));
            }
            if slot.revision < since {
                // A withdrawal by the earlier call may still be under way.
                slot.resumed = revision;
                self.last_revision = self.last_revision.max(revision);
            }
            if slot.revision < since || slot.revision >= revision {
                return Ok(VoteOutcome::Stored(slot.stored()));
            }
        } else {
            self.check_withdrawn(key, value, now)?;
        }
        if revision <= self.last_revision {
            return Ok(VoteOutcome::Outdated(self.last_revision));
        }
        self.store(key, value, ttl, revision, now).map(VoteOutcome::Stored)
    }

    pub(super) fn withdraw_vote(&mut self, key: &str, value: &str, revisions: RangeInclusive<u64>, now: Instant) {
        self.last_revision = self.last_revision.max(*revisions.end());
        let is_its_vote = |slot: &Slot| {
            *slot.value == *value && revisions.contains(&slot.revision) && slot.resumed <= *revisions.end()
        };
        if self.slots.get(key).is_some_and(is_its_vote) {
            self.free(key, now);
        }
    }

    pub(super) fn restore(
        &mut self,
        key: &str,
        value: &str,
        ttl: Duration,
        revision: u64,
        now: Instant,
    ) -> Result<SetOutcome, CacheError> {
        let ttl = match self.slots.get(key) {
            Some(slot) if *slot.value != *value => return Ok(SetOutcome::Occupied(slot.entry(now))),
            Some(slot) if slot.revision >= revision => return Ok(SetOutcome::Stored(slot.stored())),
            // It may have been extended since the caller decided to restore it.
            Some(slot) => ttl.max(slot.expires.saturating_duration_since(now)),
            None => {
                self.check_withdrawn(key, value, now)?;
                ttl
            }
        };
        self.store(key, value, ttl, revision, now).map(SetOutcome::Stored)
    }

    /// Stores a value under a key that is free, or that has this value with a lower revision.
    fn store(
        &mut self,
        key: &str,
        value: &str,
        ttl: Duration,
        revision: u64,
        now: Instant,
    ) -> Result<Stored, CacheError> {
        self.last_revision = self.last_revision.max(revision);
        if let ExtendOutcome::Extended(_) = self.extend_if_equal(key, value, ttl, now)?
            && let Some(slot) = self.slots.get_mut(key)
        {
            slot.revision = revision;
            return Ok(slot.stored());
        }
        let expires = expiry(now, ttl)?;
        Ok(self.insert(key.into(), value.into(), revision, expires, None))
    }

    pub(super) fn check_withdrawn(&self, key: &str, value: &str, now: Instant) -> Result<(), CacheError> {
        let refuses = |(until, its_key, its_value): &(Instant, Box<str>, Box<str>)| {
            *until > now && **its_key == *key && **its_value == *value
        };
        if self.withdrawn.iter().any(refuses) {
            return Err(CacheError::withdrawn(KEEP_WITHDRAWN));
        }
        Ok(())
    }

    fn insert(
        &mut self,
        key: Arc<str>,
        value: Arc<str>,
        revision: u64,
        expires: Instant,
        queue: Option<Box<Queue>>,
    ) -> Stored {
        self.changes.notify_waiters();
        self.expiries.insert((expires, key.clone()));
        self.slots.insert(key, Slot { value, revision, resumed: 0, expires, queue, changed: None });
        Stored { revision, deadline: expires }
    }

    /// Removes the value of `key` and stores the one at the head of the queue, if there is one.
    fn free(&mut self, key: &str, now: Instant) {
        let Some((key, slot)) = self.slots.remove_entry(key) else { return };
        let place = (slot.expires, key);
        self.expiries.remove(&place);
        self.changes.notify_waiters();
        if let Some(changed) = slot.changed {
            changed.notify_waiters();
        }
        let Some(mut queue) = slot.queue else { return };
        let Some(head) = queue.pop() else { return };
        let revision = self.next_revision();
        // It could be represented when the caller came.
        let expires = now.checked_add(head.ttl).unwrap_or(now);
        queue.update_head(expires);
        let queue = Some(queue).filter(|queue| queue.len() > 0);
        head.hand_over(self.insert(place.1, head.value.clone(), revision, expires, queue));
    }

    fn change_queue(&mut self, key: &str, change: impl FnOnce(&mut Queue)) {
        if let Some(slot) = self.slots.get_mut(key)
            && let Some(queue) = &mut slot.queue
        {
            change(queue);
            queue.update_head(slot.expires);
            slot.queue.take_if(|queue| queue.len() == 0);
        }
    }

    fn next_revision(&mut self) -> u64 {
        self.last_revision = self.clock.micros().max(self.last_revision + 1);
        self.last_revision
    }

    /// How many keys there are, how many of them are in the order of expiry, and how many callers are in queues.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> (usize, usize, usize) {
        let queued = self.slots.values().filter_map(|slot| slot.queue.as_ref()).map(|queue| queue.len()).sum();
        (self.slots.len(), self.expiries.len(), queued)
    }
}

impl Slot {
    fn stored(&self) -> Stored {
        Stored { revision: self.revision, deadline: self.expires }
    }

    fn entry(&self, now: Instant) -> Entry {
        Entry { value: self.value.to_string(), revision: self.revision, ttl: Some(self.expires - now) }
    }
}

fn expiry(now: Instant, ttl: Duration) -> Result<Instant, CacheError> {
    now.checked_add(ttl).ok_or_else(|| {
        CacheError::new(ErrorKind::Invalid, format!("a time to live of {ttl:?} is beyond what the clock can represent"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revisions_rise_even_if_the_wall_clock_is_set_back() {
        let mut table = Table { last_revision: u64::MAX / 2, ..Table::default() };
        assert_eq!(table.next_revision(), u64::MAX / 2 + 1);
        assert_eq!(table.next_revision(), u64::MAX / 2 + 2);
    }
}
