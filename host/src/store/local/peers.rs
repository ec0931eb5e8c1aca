//! The waiters of all processes, as one transaction sees them.

use super::failure::Failure;
use super::folder::Folder;
use super::mailbox::{Delivery, Message, Sender};
use super::record::Waiter;
use super::waiters::Waiters;
use super::watched::Revoked;
use crate::store::Stored;

/// The waiters of this process.
pub(super) struct Here<'a> {
    pub(super) mailbox: u64,
    pub(super) waiters: &'a Waiters,
    pub(super) events: Events,
}

/// What a transaction did to waiters of this process. Only valid if it succeeds.
#[derive(Default)]
pub(super) struct Events {
    /// Waiters that entered the queue.
    pub(super) entered: Vec<u64>,
    pub(super) granted: Vec<(u64, Stored)>,
    /// Heads of queues, and when their locks expire.
    pub(super) heads: Vec<(u64, u64)>,
    pub(super) withdrawn: Vec<u64>,
}

pub(super) struct Peers<'a, 'b> {
    pub(super) folder: &'a Folder,
    pub(super) sender: &'a Sender,
    pub(super) here: &'a mut Here<'b>,
}

impl Peers<'_, '_> {
    /// Tells a waiter, and answers whether it lives.
    pub(super) fn send(&mut self, waiter: &Waiter, message: Message) -> Delivery {
        if waiter.mailbox != self.here.mailbox {
            return self.sender.send(self.folder, waiter.mailbox, message);
        }
        match message {
            Message::Look(_) => {}
            Message::Head(id, expires) => self.here.events.heads.push((id, expires)),
            Message::Withdrawn(id) => self.here.events.withdrawn.push(id),
        }
        self.here.delivery(waiter.id)
    }

    /// Tells all processes that a lock was taken from its holder.
    pub(super) fn announce(&self, revoked: &Revoked) -> Result<(), Failure> {
        revoked.announce(self.folder).map_err(|error| Failure::of_system(&self.folder.path, &error))
    }

    pub(super) fn probe(&mut self, waiter: &Waiter) -> Delivery {
        if waiter.mailbox == self.here.mailbox {
            self.here.delivery(waiter.id)
        } else {
            self.sender.probe(self.folder, waiter.mailbox)
        }
    }

    /// The waiter has the key.
    pub(super) fn granted(&mut self, waiter: &Waiter, stored: Stored) {
        if waiter.mailbox == self.here.mailbox {
            self.here.events.granted.push((waiter.id, stored));
        }
    }

    /// Whether this transaction has given the key to a waiter of this process.
    pub(super) fn was_granted(&self, id: u64) -> bool {
        self.here.events.granted.iter().any(|(granted, _)| *granted == id)
    }

    /// The waiter of this process enters the queue.
    pub(super) fn entered(&mut self, id: u64) {
        self.here.events.entered.push(id);
    }
}

impl Here<'_> {
    fn delivery(&self, id: u64) -> Delivery {
        let waits = self.waiters.get(id).is_some_and(|group| !group.is_abandoned());
        if waits || self.events.entered.contains(&id) { Delivery::Alive } else { Delivery::Dead }
    }
}
