//! The steps on locks and queues, in one transaction. Their rules are those of the store in Redis.
//!
//! A free key has no queue: the step that frees a key stores the value of the first live waiter.

use std::path::Path;
use std::time::Duration;

use super::database::Transaction;
use super::failure::Failure;
use super::mailbox::Message;
use super::peers::Peers;
use super::record::{Lock, Waiter, expiry_key, lock_key, parse_expiry, queue_prefix, text};
use crate::store::{DeleteOutcome, Entry, ExtendOutcome, SetOutcome, Stored};
use crate::time::Moment;

/// How many expired locks one transaction removes, besides those that it is about.
const MAX_EXPIRED: usize = 16;
/// How many keys one transaction lists.
const MAX_KEYS: usize = 1000;
/// Fences are exact as doubles.
const MAX_FENCE: u64 = (1 << 53) - 1;
const MAX_KEY: usize = 1024;
const MAX_VALUE: usize = 16 << 10;

/// Who waits: a process by its mailbox, and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    pub(super) mailbox: u64,
    pub(super) id: u64,
}

/// What a waiter finds when it looks.
pub(super) enum Look {
    Stored(Stored),
    /// When the lock expires, and how many waiters are ahead.
    Queued {
        expires: u64,
        ahead: usize,
    },
}

pub(super) enum Enqueued {
    Stored(Stored),
    Queued { ticket: u64, expires: u64, ahead: usize },
}

pub(super) struct Table<'a, 'b> {
    pub(super) records: Transaction<'a>,
    moment: Moment,
    fence: u64,
    wall_micros: u64,
    path: &'a Path,
    pub(super) peers: Peers<'a, 'b>,
}

impl<'a, 'b> Table<'a, 'b> {
    pub(super) fn new(
        records: Transaction<'a>,
        moment: Moment,
        fence: u64,
        wall_micros: u64,
        path: &'a Path,
        peers: Peers<'a, 'b>,
    ) -> Self {
        Self { records, moment, fence, wall_micros, path, peers }
    }

    /// The transaction to commit, if anything was changed, and the highest fence.
    pub(super) fn finish(self) -> (Option<Transaction<'a>>, u64) {
        (Some(self.records).filter(|records| records.changed), self.fence)
    }

    /// Frees some of the locks that have expired.
    pub(super) fn expire(&mut self) -> Result<(), Failure> {
        for _ in 0..MAX_EXPIRED {
            let Some((bytes, _)) = self.records.first(b"E")? else { break };
            let (expires, key) = parse_expiry(&bytes)?;
            if expires > self.moment.micros {
                break;
            }
            match self.lock(key)? {
                Some(lock) if lock.expires == expires => _ = self.free(key, &lock, None)?,
                _ => return Err(super::record::damaged()),
            }
        }
        Ok(())
    }

    /// One attempt, or the last step of a wait, in which the caller leaves the queue.
    pub(super) fn set(
        &mut self,
        key: &str,
        value: &str,
        ttl: Duration,
        leaves: Option<(Caller, u64)>,
    ) -> Result<SetOutcome, Failure> {
        let ttl = check(key, value, ttl, self.moment)?;
        let lock = match self.current(key, leaves.map(|(caller, _)| caller))? {
            Some(lock) => lock,
            None => self.grant(key, value, ttl)?,
        };
        if let Some((caller, ticket)) = leaves {
            self.remove_waiter(key, ticket, caller, lock.expires)?;
        }
        Ok(if lock.value == value {
            SetOutcome::Stored(self.stored(&lock))
        } else {
            SetOutcome::Occupied(self.entry(lock))
        })
    }

    pub(super) fn enqueue(
        &mut self,
        key: &str,
        value: &str,
        ttl: Duration,
        caller: Caller,
    ) -> Result<Enqueued, Failure> {
        let ttl = check(key, value, ttl, self.moment)?;
        let Some(lock) = self.current(key, None)? else {
            let lock = self.grant(key, value, ttl)?;
            return Ok(Enqueued::Stored(self.stored(&lock)));
        };
        if lock.value == value {
            return Ok(Enqueued::Stored(self.stored(&lock)));
        }
        self.remove_dead_at_the_end(key)?;
        let ticket = match self.last_ticket(key)? {
            Some(last) => self.moment.micros.max(last + 1),
            None => self.moment.micros,
        };
        self.add_waiter(key, ticket, value, ttl, caller)?;
        self.peers.entered(caller.id);
        Ok(Enqueued::Queued { ticket, expires: lock.expires, ahead: self.ahead(key, ticket)? })
    }

    /// What is true for a waiter now. One that is no longer in the queue is put back at its place.
    pub(super) fn look(
        &mut self,
        key: &str,
        value: &str,
        ttl: Duration,
        caller: Caller,
        ticket: u64,
    ) -> Result<Look, Failure> {
        let ttl = check(key, value, ttl, self.moment)?;
        let present =
            self.waiter(key, ticket)?.is_some_and(|waiter| waiter.id == caller.id && waiter.mailbox == caller.mailbox);
        let mut lock = self.lock(key)?;
        if !present && lock.as_ref().is_none_or(|lock| lock.value != value) {
            self.add_waiter(key, ticket, value, ttl, caller)?;
        }
        if lock.as_ref().is_none_or(|lock| lock.expires <= self.moment.micros) {
            lock = match lock {
                Some(expired) => self.free(key, &expired, Some(caller))?,
                None => self.serve(key, Some(caller))?,
            };
        }
        let Some(lock) = lock else { return Err(super::record::damaged()) };
        if lock.value == value {
            self.remove_waiter(key, ticket, caller, lock.expires)?;
            return Ok(Look::Stored(self.stored(&lock)));
        }
        Ok(Look::Queued { expires: lock.expires, ahead: self.ahead(key, ticket)? })
    }

    pub(super) fn extend(&mut self, key: &str, value: &str, ttl: Duration) -> Result<ExtendOutcome, Failure> {
        self.replace(key, value, value, ttl)
    }

    /// Gives the key another value, and a new time to live.
    pub(super) fn replace(
        &mut self,
        key: &str,
        value: &str,
        replacement: &str,
        ttl: Duration,
    ) -> Result<ExtendOutcome, Failure> {
        let ttl = check(key, replacement, ttl, self.moment)?;
        let Some(mut lock) = self.current(key, None)? else { return Ok(ExtendOutcome::Absent) };
        if lock.value != value && lock.value != replacement {
            return Ok(ExtendOutcome::Different);
        }
        lock.value = replacement.to_owned();
        let before = lock.expires;
        self.records.delete(&expiry_key(before, key))?;
        lock.expires = self.moment.micros + ttl;
        self.put_lock(key, &lock)?;
        if lock.expires < before {
            self.tell_head(key, lock.expires)?;
        }
        Ok(ExtendOutcome::Extended(self.stored(&lock)))
    }

    pub(super) fn delete_if_equal(&mut self, key: &str, value: &str) -> Result<DeleteOutcome, Failure> {
        match self.current(key, None)? {
            None => Ok(DeleteOutcome::Absent),
            Some(lock) if lock.value != value => Ok(DeleteOutcome::Different),
            Some(lock) => {
                self.free(key, &lock, None)?;
                Ok(DeleteOutcome::Deleted)
            }
        }
    }

    /// Removes a value from the queue and from the key.
    pub(super) fn withdraw(&mut self, key: &str, value: &str) -> Result<(), Failure> {
        let prefix = queue_prefix(key);
        let mut removed_head = false;
        let mut next = self.records.first(&prefix)?;
        let mut is_head = true;
        while let Some((place, waiter)) = next {
            let waiter = Waiter::decode(&place, &waiter)?;
            if waiter.value == value {
                self.records.delete(&place)?;
                self.peers.send(&waiter, Message::Withdrawn(waiter.id));
                removed_head |= is_head;
            } else {
                is_head = false;
            }
            next = self.records.after(&place, &prefix)?;
        }
        match self.current(key, None)? {
            Some(lock) if lock.value == value => _ = self.free(key, &lock, None)?,
            Some(lock) if removed_head => self.tell_head(key, lock.expires)?,
            _ => {}
        }
        Ok(())
    }

    pub(super) fn get(&mut self, key: &str) -> Result<Option<Entry>, Failure> {
        Ok(self.current(key, None)?.map(|lock| self.entry(lock)))
    }

    /// Some keys that are held, after the given one.
    pub(super) fn keys(&mut self, after: Option<&str>) -> Result<Vec<String>, Failure> {
        let mut keys = Vec::new();
        let mut next = match after {
            Some(key) => self.records.after(&lock_key(key), b"L")?,
            None => self.records.first(b"L")?,
        };
        while let Some((place, bytes)) = next
            && keys.len() < MAX_KEYS
        {
            if Lock::decode(&place, &bytes)?.expires > self.moment.micros {
                keys.push(text(&place[1..])?.to_owned());
            }
            next = self.records.after(&place, b"L")?;
        }
        Ok(keys)
    }

    /// The lock under the key; if it has expired, the one that a waiter has been given.
    fn current(&mut self, key: &str, asks: Option<Caller>) -> Result<Option<Lock>, Failure> {
        match self.lock(key)? {
            Some(lock) if lock.expires <= self.moment.micros => self.free(key, &lock, asks),
            // Only after the file was replaced, waiters enter the queue of a free key.
            None => self.serve(key, asks),
            lock => Ok(lock),
        }
    }

    fn lock(&self, key: &str) -> Result<Option<Lock>, Failure> {
        let place = lock_key(key);
        self.records.get(&place)?.map(|bytes| Lock::decode(&place, bytes)).transpose()
    }

    /// Takes the key from its holder, and gives it to the first live waiter.
    fn free(&mut self, key: &str, lock: &Lock, asks: Option<Caller>) -> Result<Option<Lock>, Failure> {
        self.records.delete(&expiry_key(lock.expires, key))?;
        self.records.delete(&lock_key(key))?;
        self.serve(key, asks)
    }

    /// Stores a value under a key that is free, with a new fence.
    pub(super) fn grant(&mut self, key: &str, value: &str, ttl: u64) -> Result<Lock, Failure> {
        let fence = self.wall_micros.max(self.fence.saturating_add(1));
        if fence > MAX_FENCE {
            return Err(Failure::denied(format!(
                "the local store at {} has no fencing tokens left, since the clock is centuries ahead; set it, and remove the store",
                self.path.display()
            )));
        }
        self.fence = fence;
        let lock = Lock { expires: self.moment.micros.saturating_add(ttl), fence, value: value.to_owned() };
        self.put_lock(key, &lock)?;
        Ok(lock)
    }

    fn put_lock(&mut self, key: &str, lock: &Lock) -> Result<(), Failure> {
        let place = lock_key(key);
        self.records.put(&place, &lock.encode(&place))?;
        self.records.put(&expiry_key(lock.expires, key), &[])
    }

    pub(super) fn stored(&self, lock: &Lock) -> Stored {
        Stored { revision: lock.fence, deadline: self.moment.instant_of(lock.expires) }
    }

    fn entry(&self, lock: Lock) -> Entry {
        let left = Duration::from_micros(lock.expires.saturating_sub(self.moment.micros));
        Entry { value: lock.value, revision: lock.fence, ttl: Some(left) }
    }
}

/// The time to live in microseconds, if it can be represented, and key and value have a size that a record may have.
fn check(key: &str, value: &str, ttl: Duration, moment: Moment) -> Result<u64, Failure> {
    if key.len() > MAX_KEY || value.len() > MAX_VALUE {
        return Err(Failure::invalid(format!(
            "a local store has keys of {MAX_KEY} bytes and values of {MAX_VALUE} bytes at most"
        )));
    }
    let micros = u64::try_from(ttl.as_nanos().div_ceil(1000)).ok();
    let micros = micros.filter(|ttl| {
        moment.micros.checked_add(*ttl).is_some() && moment.instant.checked_add(Duration::from_micros(*ttl)).is_some()
    });
    micros.ok_or_else(|| Failure::invalid(format!("a time to live of {ttl:?} is beyond what the clock can represent")))
}
