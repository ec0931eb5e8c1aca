//! What a member does with a request, in one step.

use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use super::flaws::Flaw;
use super::request::{Reply, Request};
use super::server::{Server, Slot};

/// Longer than the latest time of effect of a request.
const KEEP_WITHDRAWN: u64 = 6_000_000;

impl Server {
    /// Does what is asked. `sent` is when, `others` is what another member has.
    pub(crate) fn apply(&mut self, request: &Request, now: Duration, sent: Duration, others: Option<Reply>) -> Reply {
        self.expire(now);
        let reply = self.step(request, now, sent, others);
        if request.writes() {
            self.changed.notify_waiters();
        }
        reply
    }

    fn step(&mut self, request: &Request, now: Duration, sent: Duration, others: Option<Reply>) -> Reply {
        match request {
            Request::Vote { key, value, ttl_ms, revision, since } => {
                if let Some(reply) = self.refuses_vote(key, value, *revision, *since, now) {
                    return reply;
                }
                if let Some(reply) = others {
                    return reply;
                }
                let last = *self.last_revision(key);
                let revision = if self.flaw == Some(Flaw::ChoosesRevisions) { last + 1 } else { *revision };
                self.store(key, value, *ttl_ms, revision, now, sent)
            }
            Request::WithdrawVote { key, value, revisions } => self.withdraw_vote(key, value, revisions),
            Request::Restore { key, value, ttl_ms, revision } => {
                if let Some(reply) = self.refuses_restoration(key, value, *revision, now) {
                    return reply;
                }
                let own = *self.last_revision(key) + 1;
                let revision = if self.flaw == Some(Flaw::RestoresWithOwnRevision) { own } else { *revision };
                self.store(key, value, *ttl_ms, revision, now, sent)
            }
            Request::Extend { key, value, ttl_ms } => self.extend(key, value, *ttl_ms, now, sent),
            Request::Delete { key, value } => self.delete(key, value),
            Request::Withdraw { key, value } => self.withdraw(key, value, now),
            Request::Get { key } => Reply::Found(self.entry(key, now)),
            Request::Keys => Reply::Keys(self.slots.keys().cloned().collect()),
        }
    }

    fn refuses_vote(&mut self, key: &str, value: &str, revision: u64, since: u64, now: Duration) -> Option<Reply> {
        match self.slots.get(key) {
            Some(slot) if slot.value != value && self.flaw != Some(Flaw::Overwrites) => {
                return self.entry(key, now).map(Reply::Occupied);
            }
            Some(slot) if slot.value == value && !self.replaces(slot, since..revision) => {
                return Some(self.stored(key, now));
            }
            Some(slot) if slot.value == value => {}
            _ if self.is_withdrawn(key, value) => return Some(Reply::Withdrawn),
            _ => {}
        }
        let last = *self.last_revision(key);
        (last >= revision && self.flaw != Some(Flaw::AcceptsAnyRevision)).then_some(Reply::Outdated(last))
    }

    /// Whether a vote replaces an earlier one of the same candidate.
    fn replaces(&self, slot: &Slot, revisions: Range<u64>) -> bool {
        revisions.contains(&slot.revision) && self.flaw != Some(Flaw::KeepsFirstRevision)
    }

    fn refuses_restoration(&self, key: &str, value: &str, revision: u64, now: Duration) -> Option<Reply> {
        match self.slots.get(key) {
            Some(slot) if slot.value != value && self.flaw != Some(Flaw::Overwrites) => {
                self.entry(key, now).map(Reply::Occupied)
            }
            Some(slot) if slot.value == value && slot.revision >= revision => Some(self.stored(key, now)),
            None if self.is_withdrawn(key, value) => Some(Reply::Withdrawn),
            _ => None,
        }
    }

    fn is_withdrawn(&self, key: &str, value: &str) -> bool {
        self.flaw != Some(Flaw::ForgetsWithdrawals) && self.withdrawn.contains_key(&(key.to_owned(), value.to_owned()))
    }

    fn withdraw_vote(&mut self, key: &str, value: &str, revisions: &RangeInclusive<u64>) -> Reply {
        if self.flaw == Some(Flaw::KeepsVotes) {
            return Reply::Done;
        }
        let any = self.flaw == Some(Flaw::WithdrawsAnyRevision);
        if self.slots.get(key).is_some_and(|slot| slot.value == value && (any || revisions.contains(&slot.revision))) {
            self.slots.remove(key);
        }
        if self.flaw != Some(Flaw::LetsLateVotesIn) {
            let last = self.last_revision(key);
            *last = (*last).max(*revisions.end());
        }
        Reply::Done
    }

    fn extend(&mut self, key: &str, value: &str, ttl_ms: u64, now: Duration, sent: Duration) -> Reply {
        let expires = self.expiry(ttl_ms, now);
        match self.slots.get_mut(key) {
            None if self.flaw == Some(Flaw::ExtendCreates) => {
                let revision = *self.last_revision(key);
                self.store(key, value, ttl_ms, revision, now, sent);
                Reply::Extended { revision }
            }
            None => Reply::Absent,
            Some(slot) if slot.value != value => Reply::Different,
            Some(slot) => {
                slot.expires = expires;
                slot.promised = promised(ttl_ms, sent);
                Reply::Extended { revision: slot.revision }
            }
        }
    }

    fn delete(&mut self, key: &str, value: &str) -> Reply {
        match self.slots.get(key) {
            None => Reply::Absent,
            Some(slot) if slot.value != value => Reply::Different,
            Some(_) => {
                self.slots.remove(key);
                Reply::Deleted
            }
        }
    }

    fn withdraw(&mut self, key: &str, value: &str, now: Duration) -> Reply {
        if self.flaw != Some(Flaw::KeepsVotes) {
            self.delete(key, value);
            self.withdrawn.insert((key.to_owned(), value.to_owned()), self.time(now) + KEEP_WITHDRAWN);
        }
        Reply::Done
    }

    fn store(&mut self, key: &str, value: &str, ttl_ms: u64, revision: u64, now: Duration, sent: Duration) -> Reply {
        let last = self.last_revision(key);
        *last = (*last).max(revision);
        let (expires, promised) = (self.expiry(ttl_ms, now), promised(ttl_ms, sent));
        self.slots.insert(key.to_owned(), Slot { value: value.to_owned(), revision, expires, promised });
        Reply::Stored { revision, left_ms: ttl_ms }
    }

    fn stored(&self, key: &str, now: Duration) -> Reply {
        let slot = &self.slots[key];
        Reply::Stored { revision: slot.revision, left_ms: (slot.expires - self.time(now)) / 1000 }
    }

    fn expiry(&self, ttl_ms: u64, now: Duration) -> u64 {
        let ttl_ms = if self.flaw == Some(Flaw::ExpiresEarly) { ttl_ms * 9 / 10 } else { ttl_ms };
        self.time(now) + ttl_ms * 1000
    }
}

/// What a caller may count on when this is sent: the time to live less the allowance for clocks.
fn promised(ttl_ms: u64, sent: Duration) -> Duration {
    sent + Duration::from_micros((ttl_ms * 990).saturating_sub(2_000))
}
