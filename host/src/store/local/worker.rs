//! The thread that executes calls. It alone uses the files, so no caller ever blocks on them.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::calls::{Answer, Batch, Call, Calls, Request};
use super::failure::Failure;
use super::mailbox::{MAY_OVERFLOW, Mailbox, Message};
use super::peers::{Events, Here};
use super::seat::Shared;
use super::steps::{Effect, Seen, look, step};
use super::store::Store;
use super::table::Caller;
use super::waiters::{Waiters, due};
use super::watched::Watched;
use crate::random::Random;
use crate::time::{Moment, now};

/// How many waiters look in one transaction.
const MAX_LOOKS: usize = 64;
/// When a waiter looks again after the store has failed.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

pub(super) struct Worker {
    store: Store,
    calls: Arc<Calls>,
    waiters: Waiters,
    mailbox: Option<Mailbox>,
    /// While callers listen for revocations or changes.
    watched: Option<Watched>,
    /// Waits to withdraw.
    abandoned: Vec<Arc<Shared>>,
    swept: bool,
}

/// What one transaction did.
#[derive(Default)]
struct Done {
    effects: Vec<Effect>,
    seen: Vec<(u64, Seen)>,
    events: Events,
    withdrawn: usize,
}

impl Worker {
    pub(super) fn new(store: Store, calls: Arc<Calls>) -> Self {
        let (waiters, abandoned) = (Waiters::default(), Vec::new());
        Self { store, calls, waiters, mailbox: None, watched: None, abandoned, swept: false }
    }

    /// Works until there are no users, which `ends` decides. It closes the files before another thread can open them again.
    pub(super) fn run(mut self, ends: impl Fn(&mut dyn FnMut()) -> bool) {
        loop {
            let ready = self.wait();
            let mut looks = self.receive(ready);
            self.tell_listeners();
            let Batch { calls, abandoned, closing } = self.calls.take();
            self.abandoned.extend(abandoned);
            if let Ok(moment) = Moment::now() {
                looks.extend(self.waiters.due(moment.instant, MAX_LOOKS));
            }
            looks.sort_unstable();
            looks.dedup();
            if !calls.is_empty() || !looks.is_empty() || !self.abandoned.is_empty() {
                self.execute(calls, &looks);
            }
            if closing && ends(&mut || self.close()) {
                break;
            }
        }
    }

    fn close(&mut self) {
        self.watched = None;
        self.unbind();
        self.store.close();
    }

    /// Waits for calls, messages, and the time to look. Answers whether there are messages.
    fn wait(&self) -> bool {
        let retry = (!self.abandoned.is_empty()).then(|| now() + RETRY_INTERVAL);
        let timeout = match self.waiters.next_due().into_iter().chain(retry).min() {
            Some(due) => {
                let left = due.saturating_duration_since(now()) + Duration::from_micros(999);
                PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
            }
            None => PollTimeout::NONE,
        };
        let calls = PollFd::new(self.calls.as_fd(), PollFlags::POLLIN);
        let mailbox = self.mailbox.as_ref().map(|mailbox| PollFd::new(mailbox.as_fd(), PollFlags::POLLIN));
        let watched = self.watched.as_ref().map(|watched| PollFd::new(watched.as_fd(), PollFlags::POLLIN));
        let (ready, mut polled) =
            (mailbox.is_some(), Vec::from_iter([mailbox, Some(calls), watched].into_iter().flatten()));
        _ = poll(&mut polled, timeout);
        ready && polled[0].any().unwrap_or(true)
    }

    /// Tells the callers that listen what the files say.
    fn tell_listeners(&mut self) {
        let Calls { revocations, changes, .. } = &*self.calls;
        if changes.receiver_count() == 0 {
            self.watched.iter_mut().for_each(Watched::ignore_changes);
            self.watched.take_if(|_| revocations.receiver_count() == 0);
        }
        let Some(news) = self.watched.as_ref().map(Watched::news) else { return };
        if let Some(revoked) = news.revoked {
            revocations.send_replace(revoked);
        }
        if news.has_changed {
            changes.send_replace(());
        }
    }

    /// Watches what a caller listens to.
    fn watch(&mut self, calls: &[Call]) -> Result<(), Failure> {
        let Some(folder) = self.store.folder() else { return Ok(()) };
        let failed = |error| Failure::of_system(&folder.path, &error);
        for call in calls {
            let Request::Listen { to_changes } = call.request else { continue };
            let watched = match self.watched.take() {
                Some(watched) => watched,
                None => Watched::open(folder).map_err(failed)?,
            };
            let watched = self.watched.insert(watched);
            if to_changes {
                watched.watch_changes(folder).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// The waiters that messages tell to look.
    fn receive(&mut self, ready: bool) -> Vec<u64> {
        let Some(mailbox) = self.mailbox.as_ref().filter(|_| ready) else { return Vec::new() };
        let messages = mailbox.receive();
        if messages.len() >= MAY_OVERFLOW {
            // Others may have found the buffer full.
            return self.waiters.all();
        }
        let mut looks = Vec::new();
        for message in messages {
            match message {
                Message::Look(id) => looks.push(id),
                Message::Head(id, expires) => self.became_head(id, expires),
                Message::Withdrawn(id) => self.waiters.withdrawn(id),
            }
        }
        looks
    }

    fn became_head(&mut self, id: u64, expires: u64) {
        if let Ok(moment) = Moment::now() {
            self.waiters.look_at(id, due(moment, expires, 0));
        }
    }

    fn execute(&mut self, calls: Vec<Call>, looks: &[u64]) {
        if let Err(failure) = self.store.lock() {
            self.fail(calls, looks, &failure);
            return;
        }
        if !self.swept {
            self.swept = true;
            self.store.sweep();
        }
        // Taking the lock may have taken long.
        let now = now();
        let calls: Vec<_> = calls.into_iter().filter(|call| call.is_awaited(now)).collect();
        let (calls, looks) = match self.bind(&calls) {
            Ok(()) => (calls, looks),
            Err(failure) => {
                // No other process could tell them.
                let (enter, rest) = calls.into_iter().partition(|call| matches!(call.request, Request::Enqueue { .. }));
                self.fail(enter, looks, &failure);
                (rest, &[][..])
            }
        };
        let (calls, looks) = match self.watch(&calls) {
            Ok(()) => (calls, looks),
            Err(failure) => {
                let (listen, rest) = calls.into_iter().partition(|call| matches!(call.request, Request::Listen { .. }));
                self.fail(listen, &[], &failure);
                (rest, looks)
            }
        };
        let mut finished = Vec::new();
        match self.attempt(&calls, looks) {
            Ok(done) => finished.push((calls, looks.to_vec(), Ok(done))),
            Err(failure) if calls.len() + looks.len() <= 1 => finished.push((calls, looks.to_vec(), Err(failure))),
            // One of them failed, and the others need not.
            Err(_) => {
                for id in looks {
                    finished.push((Vec::new(), vec![*id], self.attempt(&[], &[*id])));
                }
                for call in calls {
                    let done = self.attempt(std::slice::from_ref(&call), &[]);
                    finished.push((vec![call], Vec::new(), done));
                }
            }
        }
        self.store.unlock();
        for (calls, looks, done) in finished {
            match done {
                Ok(done) => self.finish(calls, done),
                Err(failure) => self.fail(calls, &looks, &failure),
            }
        }
        if self.waiters.is_empty() {
            self.unbind();
        }
    }

    /// Binds the socket, if a waiter needs it.
    fn bind(&mut self, calls: &[Call]) -> Result<(), Failure> {
        let enters = calls.iter().any(|call| matches!(call.request, Request::Enqueue { .. }));
        if self.waiters.is_empty() && !enters {
            return Ok(());
        }
        let Some(folder) = self.store.folder() else { return Ok(()) };
        if self.mailbox.as_ref().is_some_and(|mailbox| mailbox.is_bound(folder)) {
            return Ok(());
        }
        let mailbox = Mailbox::bind(folder, Random::default().u64());
        self.mailbox = Some(mailbox.map_err(|error| Failure::of_system(&folder.path, &error))?);
        Ok(())
    }

    fn unbind(&mut self) {
        if let (Some(mailbox), Some(folder)) = (self.mailbox.take(), self.store.folder()) {
            mailbox.remove(folder);
        }
    }

    /// One transaction. A file that turns out to be damaged is replaced, and the transaction repeated.
    fn attempt(&mut self, calls: &[Call], looks: &[u64]) -> Result<Done, Failure> {
        match self.transaction(calls, looks) {
            Err(Failure::Damaged(reason)) => {
                self.store.replace(&reason)?;
                self.transaction(calls, looks)
            }
            done => done,
        }
    }

    fn transaction(&mut self, calls: &[Call], looks: &[u64]) -> Result<Done, Failure> {
        let moment = Moment::now().map_err(|error| Failure::unavailable(format!("the clock failed: {error}")))?;
        let numbered: Vec<_> = calls.iter().map(|call| (self.waiters.next_id(), call)).collect();
        let mailbox = self.mailbox.as_ref().map_or(0, |mailbox| mailbox.address);
        let mut here = Here { mailbox, waiters: &self.waiters, events: Events::default() };
        let (waiters, abandoned, queue) = (&self.waiters, &self.abandoned, &self.calls);
        let mut done = self.store.transaction(moment, &mut here, |table| {
            let mut done = Done::default();
            for wait in abandoned.iter().filter(|wait| wait.is_abandoned()) {
                table.withdraw(&wait.key, &wait.value)?;
            }
            done.withdrawn = abandoned.len();
            for id in looks {
                if let Some(seen) = look(table, waiters, *id, mailbox, moment)? {
                    done.seen.push((*id, seen));
                }
            }
            for (id, call) in numbered {
                let caller = Caller { mailbox, id };
                done.effects.push(step(table, waiters, &call.request, caller, queue, moment)?);
            }
            Ok(done)
        })?;
        done.events = here.events;
        Ok(done)
    }

    /// Tells callers and waiters what was done.
    fn finish(&mut self, calls: Vec<Call>, done: Done) {
        let Ok(moment) = Moment::now() else { return };
        for wait in self.abandoned.drain(..done.withdrawn) {
            if wait.is_abandoned() {
                self.waiters.remove(wait.id);
            }
        }
        for (call, effect) in calls.into_iter().zip(done.effects) {
            let answer = match effect {
                Effect::Answer(answer) => answer,
                Effect::Queued { shared, ttl, ticket, due } => {
                    Answer::Queued(self.waiters.add(shared, ttl, ticket, due))
                }
                Effect::Joined(id) => match self.waiters.join(id) {
                    Some(seat) => Answer::Queued(seat),
                    None => continue,
                },
                Effect::Left { id, seat, outcome } => {
                    self.waiters.leave(id, seat);
                    Answer::Set(outcome)
                }
            };
            // A caller that went away drops its seat, or withdraws its value.
            _ = call.reply.send(Ok(answer));
        }
        for (id, seen) in done.seen {
            match seen {
                Seen::Stored(stored) => self.waiters.granted(id, stored),
                Seen::Due(due) => self.waiters.look_at(id, due),
            }
        }
        for (id, stored) in done.events.granted {
            self.waiters.granted(id, stored);
        }
        for (id, expires) in done.events.heads {
            self.waiters.look_at(id, due(moment, expires, 0));
        }
        for id in done.events.withdrawn {
            self.waiters.withdrawn(id);
        }
    }

    fn fail(&mut self, calls: Vec<Call>, looks: &[u64], failure: &Failure) {
        for call in calls {
            _ = call.reply.send(Err(failure.clone()));
        }
        for id in looks {
            self.waiters.look_at(*id, now() + RETRY_INTERVAL);
        }
    }
}
