//! What a call or a waiter makes of a transaction, and what is to be done when it has succeeded.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::calls::{Answer, Calls, Request};
use super::failure::Failure;
use super::seat::Shared;
use super::table::{Caller, Enqueued, Look, Table};
use super::waiters::{Waiters, due};
use crate::store::{SetOutcome, Stored};
use crate::time::Moment;

/// What is to be done after a transaction that succeeded.
pub(super) enum Effect {
    Answer(Answer),
    Queued { shared: Arc<Shared>, ttl: Duration, ticket: u64, due: Instant },
    Joined(u64),
    Left { id: u64, seat: u64, outcome: SetOutcome },
}

pub(super) enum Seen {
    Stored(Stored),
    Due(Instant),
}

/// Finds out what is true for a waiter of this process, if it still waits.
pub(super) fn look(
    table: &mut Table<'_, '_>,
    waiters: &Waiters,
    id: u64,
    mailbox: u64,
    moment: Moment,
) -> Result<Option<Seen>, Failure> {
    let Some(group) = waiters.get(id).filter(|group| !group.is_abandoned()) else { return Ok(None) };
    let caller = Caller { mailbox, id };
    Ok(Some(match table.look(&group.shared.key, &group.shared.value, group.ttl, caller, group.ticket)? {
        Look::Stored(stored) => Seen::Stored(stored),
        Look::Queued { expires, ahead } => Seen::Due(due(moment, expires, ahead)),
    }))
}

/// Executes a call.
pub(super) fn step(
    table: &mut Table<'_, '_>,
    waiters: &Waiters,
    request: &Request,
    caller: Caller,
    calls: &Arc<Calls>,
    moment: Moment,
) -> Result<Effect, Failure> {
    Ok(Effect::Answer(match request {
        Request::Set { key, value, ttl } => Answer::Set(table.set(key, value, *ttl, None)?),
        Request::Enqueue { key, value, ttl } => {
            if let Some(id) = waiters.find(key, value)
                && let Some(group) = waiters.get(id).filter(|group| !group.is_abandoned())
            {
                let queued = Caller { mailbox: caller.mailbox, id };
                return Ok(match table.look(key, value, group.ttl, queued, group.ticket)? {
                    Look::Stored(stored) => Effect::Answer(Answer::Set(SetOutcome::Stored(stored))),
                    Look::Queued { .. } => Effect::Joined(id),
                });
            }
            match table.enqueue(key, value, *ttl, caller)? {
                Enqueued::Stored(stored) => Answer::Set(SetOutcome::Stored(stored)),
                Enqueued::Queued { ticket, expires, ahead } => {
                    let shared = Arc::new(Shared::new(key.clone(), value.clone(), caller.id, calls.clone()));
                    return Ok(Effect::Queued { shared, ttl: *ttl, ticket, due: due(moment, expires, ahead) });
                }
            }
        }
        Request::Leave { shared, seat, ttl } => {
            let Shared { key, value, id, .. } = &**shared;
            // The value was stored before the call could leave. It may be gone again, and must not be stored once more.
            if !waiters.has_seat(*id, *seat) || table.peers.was_granted(*id) {
                return Ok(Effect::Answer(Answer::Ended));
            }
            let queued = Caller { mailbox: caller.mailbox, id: *id };
            let place = waiters.get(*id).map(|group| group.ticket).filter(|_| waiters.is_last(*id, *seat));
            let outcome = table.set(key, value, *ttl, place.map(|ticket| (queued, ticket)))?;
            return Ok(Effect::Left { id: *id, seat: *seat, outcome });
        }
        Request::Extend { key, value, ttl } => Answer::Extended(table.extend(key, value, *ttl)?),
        Request::Replace { key, value, replacement, ttl } => {
            Answer::Extended(table.replace(key, value, replacement, *ttl)?)
        }
        Request::Delete { key, value } => Answer::Deleted(table.delete_if_equal(key, value)?),
        Request::Withdraw { key, value } => {
            table.withdraw(key, value)?;
            Answer::Withdrawn
        }
        Request::Get { key } => Answer::Found(table.get(key)?),
        Request::Keys { after } => Answer::Keys(table.keys(after.as_deref())?),
        Request::Announce(revoked) => {
            table.peers.announce(revoked)?;
            Answer::Announced
        }
        Request::Listen { .. } => Answer::Listening,
        Request::QueueLen { key } => Answer::Count(table.queue_len(key)?),
    }))
}
