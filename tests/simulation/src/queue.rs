//! The queue: which waiter has a lock next.

use std::collections::BTreeSet;

use crate::cache::Entry;
use crate::request::{HandOff, Notice, Outcome};
use crate::rules::{Rules, Script};
use crate::table::{GRACE, GRACE_INTERVAL, QueueEntry};

/// What is to become of the head of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It gets the lock.
    Live,
    /// It is subscribed and does not report: it moves to the end.
    Stalled,
    /// It has not subscribed again since a failover: it is waited for.
    Awaited,
    /// It is dropped.
    Dead,
}

/// What came of serving a queue.
#[derive(Debug)]
pub(crate) enum Served {
    /// No waiter is live.
    Free,
    /// This waiter has the lock.
    HandedOff(String, Outcome),
    /// The head is waited for; attempts are told so.
    Grace(Entry),
}

/// Gives a lock that is free to the first live waiter. The one that asks is live in any case.
pub(crate) fn serve<R: Rules + ?Sized>(rules: &R, script: &mut Script<'_>, key: &str, asks: Option<&str>) -> Served {
    let mut moved = BTreeSet::new();
    loop {
        let head = script.table.queues.get(key).and_then(|queue| rules.head(queue)).cloned();
        let Some(head) = head.filter(|head| !moved.contains(&head.value)) else { return Served::Free };
        let verdict = rules.judge(script, key, &head, asks);
        match verdict {
            Verdict::Live => {
                let granted = rules.hand_off(script, key, &head);
                return Served::HandedOff(head.value, granted);
            }
            Verdict::Stalled => {
                moved.insert(head.value.clone());
                move_to_end(script, key, head, moved.len() as u64);
            }
            Verdict::Awaited => {
                let left = script.table.graces.get(key).map_or(0, |(ends, _)| ends - script.now);
                return Served::Grace(Entry { value: head.value, revision: 0, left });
            }
            Verdict::Dead => script.table.remove_entry(key, &head.value),
        }
    }
}

/// Judges the head by its client's subscription and last report.
pub(crate) fn judge(script: &mut Script<'_>, key: &str, head: &QueueEntry, asks: Option<&str>) -> Verdict {
    if asks == Some(&head.value) {
        return Verdict::Live;
    }
    let reported = script.table.clients.get(&head.client);
    match (script.table.is_subscribed(head.client), reported) {
        (true, Some(_)) => Verdict::Live,
        (true, None) => Verdict::Stalled,
        (false, Some(client)) if client.run_id != script.table.run_id => {
            let grace = (script.now + GRACE, script.now + GRACE_INTERVAL);
            let (ends, _) = *script.table.graces.entry(key.to_owned()).or_insert(grace);
            if script.now < ends { Verdict::Awaited } else { Verdict::Dead }
        }
        (false, _) => Verdict::Dead,
    }
}

/// Tells a waiter that it has the lock.
pub(crate) fn announce(script: &mut Script<'_>, key: &str, head: &QueueEntry, fence: u64) {
    let hand_off = HandOff { value: head.value.clone(), fence, time: script.wall() };
    script.published.push(Notice { client: head.client, key: key.to_owned(), hand_off: Some(hand_off) });
}

fn move_to_end(script: &mut Script<'_>, key: &str, mut head: QueueEntry, place: u64) {
    let expires = script.table.queues.get(key).map_or(0, |queue| queue.expires);
    script.table.remove_entry(key, &head.value);
    head.ticket = script.wall() + place;
    script.published.push(Notice { client: head.client, key: key.to_owned(), hand_off: None });
    script.table.add_entry(key, head);
    if let Some(queue) = script.table.queues.get_mut(key) {
        queue.expires = expires;
    }
}
