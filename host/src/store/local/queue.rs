//! The queues for keys: who is in them, and who is next.

use super::failure::Failure;
use super::mailbox::{Delivery, Message};
use super::record::{Lock, Waiter, parse_ticket, queue_prefix, waiter_key};
use super::table::{Caller, Table};

/// How many waiters before its own place a new one looks at, and removes if they are dead.
const PROBED: usize = 4;
/// How many waiters ahead are counted.
const MAX_COUNTED: usize = 100;

impl Table<'_, '_> {
    pub(super) fn queue_len(&mut self, key: &str) -> Result<usize, Failure> {
        let prefix = queue_prefix(key);
        let (mut count, mut next) = (0, self.records.first(&prefix)?);
        while let Some((place, _)) = next {
            count += 1;
            next = self.records.after(&place, &prefix)?;
        }
        Ok(count)
    }

    /// Stores the value of the first live waiter. The one that asks is live.
    pub(super) fn serve(&mut self, key: &str, asks: Option<Caller>) -> Result<Option<Lock>, Failure> {
        let prefix = queue_prefix(key);
        while let Some((place, bytes)) = self.records.first(&prefix)? {
            let waiter = Waiter::decode(&place, &bytes)?;
            let asked = asks == Some(Caller { mailbox: waiter.mailbox, id: waiter.id });
            let delivery = if asked { Delivery::Alive } else { self.peers.send(&waiter, Message::Look(waiter.id)) };
            self.records.delete(&place)?;
            if delivery == Delivery::Alive {
                let lock = self.grant(key, &waiter.value, waiter.ttl)?;
                let stored = self.stored(&lock);
                self.peers.granted(&waiter, stored);
                self.tell_head(key, lock.expires)?;
                return Ok(Some(lock));
            }
        }
        Ok(None)
    }

    /// Tells the first live waiter that it is the head, and when the lock expires.
    pub(super) fn tell_head(&mut self, key: &str, expires: u64) -> Result<(), Failure> {
        let prefix = queue_prefix(key);
        while let Some((place, bytes)) = self.records.first(&prefix)? {
            let waiter = Waiter::decode(&place, &bytes)?;
            if self.peers.send(&waiter, Message::Head(waiter.id, expires)) == Delivery::Alive {
                break;
            }
            self.records.delete(&place)?;
        }
        Ok(())
    }

    pub(super) fn add_waiter(
        &mut self,
        key: &str,
        ticket: u64,
        value: &str,
        ttl: u64,
        caller: Caller,
    ) -> Result<(), Failure> {
        let place = waiter_key(key, ticket);
        let waiter = Waiter { mailbox: caller.mailbox, id: caller.id, ttl, value: value.to_owned() };
        self.records.put(&place, &waiter.encode(&place))
    }

    pub(super) fn remove_waiter(
        &mut self,
        key: &str,
        ticket: u64,
        caller: Caller,
        expires: u64,
    ) -> Result<(), Failure> {
        let Some(waiter) = self.waiter(key, ticket)? else { return Ok(()) };
        if waiter.id == caller.id && waiter.mailbox == caller.mailbox {
            let was_head = self.ahead(key, ticket)? == 0;
            self.records.delete(&waiter_key(key, ticket))?;
            if was_head {
                self.tell_head(key, expires)?;
            }
        }
        Ok(())
    }

    /// Waiters that died behind live ones are not reached by hand-offs. So each new one removes some of them.
    pub(super) fn remove_dead_at_the_end(&mut self, key: &str) -> Result<(), Failure> {
        let prefix = queue_prefix(key);
        let mut place = waiter_key(key, u64::MAX);
        for _ in 0..PROBED {
            let Some((before, bytes)) = self.records.before(&place, &prefix)? else { break };
            let waiter = Waiter::decode(&before, &bytes)?;
            if self.peers.probe(&waiter) == Delivery::Dead {
                self.records.delete(&before)?;
            }
            place = before;
        }
        Ok(())
    }

    pub(super) fn waiter(&self, key: &str, ticket: u64) -> Result<Option<Waiter>, Failure> {
        let place = waiter_key(key, ticket);
        self.records.get(&place)?.map(|bytes| Waiter::decode(&place, bytes)).transpose()
    }

    pub(super) fn last_ticket(&self, key: &str) -> Result<Option<u64>, Failure> {
        let last = self.records.before(&waiter_key(key, u64::MAX), &queue_prefix(key))?;
        last.map(|(place, _)| parse_ticket(&place)).transpose()
    }

    pub(super) fn ahead(&self, key: &str, ticket: u64) -> Result<usize, Failure> {
        let (prefix, place) = (queue_prefix(key), waiter_key(key, ticket));
        let (mut count, mut next) = (0, self.records.first(&prefix)?);
        while let Some((other, _)) = next
            && other < place
            && count < MAX_COUNTED
        {
            count += 1;
            next = self.records.after(&other, &prefix)?;
        }
        Ok(count)
    }
}
