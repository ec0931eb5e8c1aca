//! The rules of the simulated server: what the scripts of `docs/protocol.md` do.
//!
//! Each step is one method of [`Rules`], and a store that is broken on purpose has another in its place.

use crate::queue::{self, Served, Verdict};
use crate::request::{Applied, Notice, Outcome, Queued, Request, Step};
use crate::table::{KEEP_CLIENT, KEEP_MARK, KEEP_QUEUE, MILLISECOND, Micros, Queue, QueueEntry, Slot, Table};

/// A script that runs: the data it sees, for which client, and what it publishes.
#[derive(Debug)]
pub struct Script<'a> {
    /// The server's data, without what has expired.
    pub table: &'a mut Table,
    /// The time.
    pub now: Micros,
    /// The client whose request it is.
    pub client: usize,
    /// The connection that the request came through.
    pub connection: u64,
    /// The messages that it has published.
    pub published: Vec<Notice>,
}

impl Script<'_> {
    /// The server's wall clock.
    #[must_use]
    pub fn wall(&self) -> u64 {
        self.table.wall(self.now)
    }
}

/// The steps of a server. As they stand here they are right.
pub trait Rules: Send + Sync {
    /// Whether the value under a key is the one that the client means.
    fn equal(&self, present: &str, value: &str) -> bool {
        present == value
    }

    /// Whether a request comes too late to take effect.
    fn is_late(&self, script: &Script<'_>, use_by: u64) -> bool {
        script.wall() > use_by
    }

    /// More than the last fence, and at least the server's time.
    fn next_fence(&self, script: &mut Script<'_>) -> u64 {
        script.table.counter = (script.table.counter + 1).max(script.wall());
        script.table.counter
    }

    /// Stores a value, whatever was there.
    fn grant(&self, script: &mut Script<'_>, key: &str, value: &str, ttl_ms: u64) -> Outcome {
        let (fence, left) = (self.next_fence(script), ttl_ms * MILLISECOND);
        let slot = Slot { value: value.to_owned(), fence, expires: script.now + left };
        script.table.slots.insert(key.to_owned(), slot);
        Outcome::Stored { fence, left }
    }

    /// Refuses a value from here on.
    fn mark(&self, script: &mut Script<'_>, key: &str, value: &str) {
        script.table.withdrawn.insert((key.to_owned(), value.to_owned()), script.now + KEEP_MARK);
    }

    /// Marks a value of which another attempt may still arrive.
    fn mark_repeated(&self, script: &mut Script<'_>, key: &str, value: &str) {
        self.mark(script, key, value);
    }

    /// Which waiter is next.
    fn head<'a>(&self, queue: &'a Queue) -> Option<&'a QueueEntry> {
        queue.entries.first()
    }

    /// What is to become of the head of a queue, when a value asks for the lock or a holder frees it.
    fn judge(&self, script: &mut Script<'_>, key: &str, head: &QueueEntry, asks: Option<&str>) -> Verdict {
        queue::judge(script, key, head, asks)
    }

    /// Stores the value of a live waiter and tells its client.
    fn hand_off(&self, script: &mut Script<'_>, key: &str, head: &QueueEntry) -> Outcome {
        script.table.remove_entry(key, &head.value);
        let granted = self.grant(script, key, &head.value, head.ttl_ms);
        if let Outcome::Stored { fence, .. } = granted {
            queue::announce(script, key, head, fence);
        }
        granted
    }

    /// Makes one attempt.
    fn set(&self, script: &mut Script<'_>, key: &str, value: &str, ttl_ms: u64) -> Applied {
        let outcome = match script.table.entry(key, script.now) {
            Some(entry) if entry.value == value => Outcome::Stored { fence: entry.revision, left: entry.left },
            Some(entry) => Outcome::Occupied(entry),
            None => match queue::serve(self, script, key, Some(value)) {
                Served::Free => self.grant(script, key, value, ttl_ms),
                Served::HandedOff(to, granted) if to == value => granted,
                Served::HandedOff(..) => script.table.entry(key, script.now).map_or(Outcome::Done, Outcome::Occupied),
                Served::Grace(entry) => Outcome::Occupied(entry),
            },
        };
        Applied::Outcome(outcome)
    }

    /// Removes the queue entry of a wait that is over.
    fn leave_queue(&self, script: &mut Script<'_>, key: &str, value: &str) {
        script.table.remove_entry(key, value);
    }

    /// Enters the queue or confirms the entry, or takes a lock that is free.
    fn enqueue(&self, script: &mut Script<'_>, key: &str, entry: QueueEntry, report: bool) -> Outcome {
        let (value, ttl_ms) = (entry.value.clone(), entry.ttl_ms);
        let present = script.table.entry(key, script.now);
        if let Some(present) = present.as_ref().filter(|present| present.value == value) {
            script.table.remove_entry(key, &value);
            return Outcome::Stored { fence: present.revision, left: present.left };
        }
        if present.is_none() && !script.table.queues.contains_key(key) {
            return self.grant(script, key, &value, ttl_ms);
        }
        let added = script.table.add_entry(key, entry);
        self.keep(script, key, report);
        let place = self.place(script, key, &value, added);
        if present.is_none() {
            match queue::serve(self, script, key, Some(&value)) {
                Served::Free => {
                    script.table.remove_entry(key, &value);
                    return self.grant(script, key, &value, ttl_ms);
                }
                Served::HandedOff(to, granted) if to == value => return granted,
                Served::HandedOff(..) | Served::Grace(_) => {}
            }
        }
        place
    }

    /// A waiter is there: the queue lives on. Its client counts as reporting if it is subscribed here: otherwise a report from before a
    /// failover would end the grace of its client.
    fn keep(&self, script: &mut Script<'_>, key: &str, report: bool) {
        if let Some(queue) = script.table.queues.get_mut(key) {
            queue.expires = script.now + KEEP_QUEUE;
        }
        if report && script.table.is_subscribed(script.client) {
            let client = crate::table::ClientKey { run_id: script.table.run_id, expires: script.now + KEEP_CLIENT };
            script.table.clients.insert(script.client, client);
        }
    }

    /// What a waiter is told of its place.
    fn place(&self, script: &Script<'_>, key: &str, value: &str, added: bool) -> Outcome {
        let entries = script.table.queues.get(key).map_or(&[][..], |queue| &queue.entries);
        let ahead = entries.iter().position(|entry| entry.value == value).unwrap_or(0);
        Outcome::Queued(Queued {
            ticket: entries.get(ahead).map_or(0, |entry| entry.ticket),
            added,
            left: script.table.slots.get(key).map(|slot| slot.expires - script.now),
            ahead: ahead as u64,
            subscribed: script.table.is_subscribed(script.client),
        })
    }

    /// Replaces the time to live of a key that holds exactly a value.
    fn extend(&self, script: &mut Script<'_>, key: &str, value: &str, ttl_ms: u64) -> Outcome {
        match script.table.slots.get_mut(key) {
            None => Outcome::Absent,
            Some(slot) if self.equal(&slot.value, value) => {
                slot.expires = script.now + ttl_ms * MILLISECOND;
                Outcome::Extended { fence: slot.fence }
            }
            Some(_) => Outcome::Different,
        }
    }

    /// Takes the lock from its holder: the first live waiter has it then, or else it is free.
    fn release(&self, script: &mut Script<'_>, key: &str) {
        script.table.slots.remove(key);
        queue::serve(self, script, key, None);
    }

    /// Releases a lock that a value holds.
    fn delete(&self, script: &mut Script<'_>, key: &str, value: &str) -> Applied {
        Applied::Outcome(match script.table.slots.get(key) {
            None => Outcome::Absent,
            Some(slot) if self.equal(&slot.value, value) => {
                self.release(script, key);
                Outcome::Deleted
            }
            Some(_) => Outcome::Different,
        })
    }

    /// Removes a value from queue and key, for good.
    fn withdraw(&self, script: &mut Script<'_>, key: &str, value: &str) -> Outcome {
        self.leave_queue(script, key, value);
        if script.table.slots.get(key).is_some_and(|slot| slot.value == value) {
            self.release(script, key);
        }
        self.mark(script, key, value);
        Outcome::Withdrawn
    }

    /// Runs a script.
    fn apply(&self, script: &mut Script<'_>, request: &Request) -> Applied {
        crate::scripts::run(self, script, request)
    }
}

/// A store that keeps all the rules.
#[derive(Debug)]
pub struct Honest;

impl Rules for Honest {}

/// The entry that a request asks for.
pub(crate) fn entry_of(script: &Script<'_>, step: &Step) -> Option<QueueEntry> {
    let Step::Enqueue { key, value, ttl_ms, ticket, .. } = step else { return None };
    // Entries that were moved to the end have tickets a little later than the time.
    let last = script.table.queues.get(key).and_then(|queue| queue.entries.last());
    let ticket = if *ticket == 0 { script.wall().max(last.map_or(0, |last| last.ticket + 1)) } else { *ticket };
    Some(QueueEntry { client: script.client, value: value.clone(), ttl_ms: *ttl_ms, ticket })
}
