//! Runs a request by the rules of a server: what all scripts have in common.

use crate::request::{Applied, Outcome, Request, Step};
use crate::rules::{Rules, Script, entry_of};
use crate::table::{MILLISECOND, Slot};

/// Runs a script, unless its use-by has passed.
pub(crate) fn run<R: Rules + ?Sized>(rules: &R, script: &mut Script<'_>, request: &Request) -> Applied {
    let step = &request.step;
    let reads = matches!(step, Step::Time | Step::Subscribe | Step::Get { .. } | Step::Write { .. });
    let halves = matches!(step, Step::Remove { .. } | Step::Expire { .. } | Step::Store { .. });
    if !reads && !halves && rules.is_late(script, request.use_by) {
        return Applied::Outcome(Outcome::Late);
    }
    match step {
        Step::Set { .. } => set(rules, script, step),
        Step::Delete { key, value } => rules.delete(script, key, value),
        _ if halves => second_half(script, step),
        _ => Applied::Outcome(simple(rules, script, step)),
    }
}

fn simple<R: Rules + ?Sized>(rules: &R, script: &mut Script<'_>, step: &Step) -> Outcome {
    match step {
        Step::Subscribe => {
            script.table.subscribed.insert((script.client, script.connection));
            Outcome::Done
        }
        Step::Enqueue { key, report, again, .. } => enqueue(rules, script, step, (key, *report, *again)),
        Step::Extend { key, value, ttl_ms } => rules.extend(script, key, value, *ttl_ms),
        Step::Withdraw { key, value } => rules.withdraw(script, key, value),
        Step::Get { key } => script.table.entry(key, script.now).map_or(Outcome::Absent, Outcome::Found),
        _ => Outcome::Done,
    }
}

/// The mark refuses a value only while it is not under its key: its holder may ask again.
fn is_refused(script: &Script<'_>, key: &str, value: &str) -> bool {
    let holds = script.table.slots.get(key).is_some_and(|slot| slot.value == value);
    !holds && script.table.withdrawn.contains_key(&(key.to_owned(), value.to_owned()))
}

fn set<R: Rules + ?Sized>(rules: &R, script: &mut Script<'_>, step: &Step) -> Applied {
    let Step::Set { key, value, ttl_ms, last, again } = step else { return Applied::Outcome(Outcome::Done) };
    if is_refused(script, key, value) {
        return Applied::Outcome(Outcome::Withdrawn);
    }
    let applied = rules.set(script, key, value, *ttl_ms);
    if *last {
        rules.leave_queue(script, key, value);
    }
    if *again {
        rules.mark_repeated(script, key, value);
    }
    applied
}

fn enqueue<R: Rules + ?Sized>(
    rules: &R,
    script: &mut Script<'_>,
    step: &Step,
    (key, report, again): (&str, bool, bool),
) -> Outcome {
    let Some(entry) = entry_of(script, step) else { return Outcome::Done };
    if is_refused(script, key, &entry.value) {
        return Outcome::Withdrawn;
    }
    let value = entry.value.clone();
    let outcome = rules.enqueue(script, key, entry, report);
    if again && matches!(outcome, Outcome::Stored { .. }) {
        rules.mark_repeated(script, key, &value);
    }
    outcome
}

/// What a store that is broken on purpose has left to do.
fn second_half(script: &mut Script<'_>, step: &Step) -> Applied {
    let now = script.now;
    match step {
        Step::Remove { key } => {
            script.table.slots.remove(key);
            Applied::Outcome(Outcome::Deleted)
        }
        Step::Expire { key, ttl_ms } => {
            let left = ttl_ms * MILLISECOND;
            let fence = script.table.slots.get_mut(key).map_or(0, |slot| {
                slot.expires = now + left;
                slot.fence
            });
            Applied::Outcome(Outcome::Stored { fence, left })
        }
        Step::Store { key, value, ttl_ms, fence } => {
            let slot = Slot { value: value.clone(), fence: *fence, expires: now + ttl_ms * MILLISECOND };
            script.table.slots.entry(key.clone()).or_insert(slot);
            Applied::Outcome(Outcome::Deleted)
        }
        _ => Applied::Outcome(Outcome::Done),
    }
}
