//! Stores that break one rule of the queue each. The tests must catch them.

use crate::queue::{self, Verdict};
use crate::request::Outcome;
use crate::rules::{Honest, Rules, Script};
use crate::table::{ClientKey, KEEP_CLIENT, MILLISECOND, Queue, QueueEntry, Slot};

/// Serves the waiter that came last.
#[derive(Debug)]
pub struct ServesTheLast;

impl Rules for ServesTheLast {
    fn head<'a>(&self, queue: &'a Queue) -> Option<&'a QueueEntry> {
        queue.entries.last()
    }
}

/// Takes every waiter for a live one, and leaves it in the queue until it leaves by itself.
#[derive(Debug)]
pub struct HandsOffToTheDead;

impl Rules for HandsOffToTheDead {
    fn judge(&self, _: &mut Script<'_>, _: &str, _: &QueueEntry, _: Option<&str>) -> Verdict {
        Verdict::Live
    }

    fn hand_off(&self, script: &mut Script<'_>, key: &str, head: &QueueEntry) -> Outcome {
        let granted = self.grant(script, key, &head.value, head.ttl_ms);
        if let Outcome::Stored { fence, .. } = granted {
            queue::announce(script, key, head, fence);
        }
        granted
    }
}

/// Takes waiters for dead that have not subscribed again after a failover.
#[derive(Debug)]
pub struct HasNoGrace;

impl Rules for HasNoGrace {
    fn judge(&self, script: &mut Script<'_>, key: &str, head: &QueueEntry, asks: Option<&str>) -> Verdict {
        match queue::judge(script, key, head, asks) {
            Verdict::Awaited => Verdict::Dead,
            verdict => verdict,
        }
    }
}

/// Drops the head if there are others.
#[derive(Debug)]
pub struct DropsTheFirst;

impl Rules for DropsTheFirst {
    fn judge(&self, script: &mut Script<'_>, key: &str, head: &QueueEntry, asks: Option<&str>) -> Verdict {
        let others = script.table.queues.get(key).is_some_and(|queue| queue.entries.len() > 1);
        if others { Verdict::Dead } else { queue::judge(script, key, head, asks) }
    }
}

/// Hands a lock off with the last fence.
#[derive(Debug)]
pub struct RepeatsFences;

impl Rules for RepeatsFences {
    fn hand_off(&self, script: &mut Script<'_>, key: &str, head: &QueueEntry) -> Outcome {
        script.table.remove_entry(key, &head.value);
        let (fence, left) = (script.table.counter, head.ttl_ms * MILLISECOND);
        let slot = Slot { value: head.value.clone(), fence, expires: script.now + left };
        script.table.slots.insert(key.to_owned(), slot);
        queue::announce(script, key, head, fence);
        Outcome::Stored { fence, left }
    }
}

/// Keeps the queue entries of callers that leave.
#[derive(Debug)]
pub struct KeepsEntries;

impl Rules for KeepsEntries {
    fn leave_queue(&self, _: &mut Script<'_>, _: &str, _: &str) {}
}

/// Never serves the queue but when a lock is released.
#[derive(Debug)]
pub struct IgnoresReports;

impl Rules for IgnoresReports {
    fn enqueue(&self, script: &mut Script<'_>, key: &str, entry: QueueEntry, report: bool) -> Outcome {
        if script.table.slots.contains_key(key) || !script.table.queues.contains_key(key) {
            return Honest.enqueue(script, key, entry, report);
        }
        let value = entry.value.clone();
        let added = script.table.add_entry(key, entry);
        self.keep(script, key, report);
        self.place(script, key, &value, added)
    }
}

/// Judges the waiter whose request it runs as if it were not there, and lets its report end the grace of its client.
#[derive(Debug)]
pub struct DropsTheCaller;

impl Rules for DropsTheCaller {
    fn judge(&self, script: &mut Script<'_>, key: &str, head: &QueueEntry, _: Option<&str>) -> Verdict {
        queue::judge(script, key, head, None)
    }

    fn keep(&self, script: &mut Script<'_>, key: &str, report: bool) {
        Honest.keep(script, key, report);
        if report {
            let client = ClientKey { run_id: script.table.run_id, expires: script.now + KEEP_CLIENT };
            script.table.clients.insert(script.client, client);
        }
    }
}
