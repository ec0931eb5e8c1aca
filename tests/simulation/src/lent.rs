//! The cache that a guest is lent: the client's side of the store.
//!
//! It does what a real host does with answers that got lost: it asks again with the same arguments, once, and then gives
//! up. Times to live are counted from before the first request was sent.

use std::time::Duration;

use locker_host::{Delete, Entry, Extend, Set, Stored};

use crate::port::Port;
use crate::store::{Answer, DEFAULT_TTL_MS, MILLISECOND, Micros, Request, span};
use crate::world::{Unanswered, Unowned};

/// The cache as one process sees it.
#[derive(Clone)]
pub struct Lent {
    pub(crate) port: Port,
    habits: Habits,
}

/// What a host does otherwise than it should, if anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Habits {
    /// Counts a time to live from when the answer came.
    pub counts_from_the_answer: bool,
    /// Leaves what it may have taken where it is.
    pub gives_nothing_back: bool,
    /// Tells what a second request was answered as if there had been no first.
    pub forgets_that_it_asked: bool,
}

/// The store was not reached or did not answer in time. A write may have happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unavailable;

impl Lent {
    pub(crate) fn new(port: Port, habits: Habits) -> Self {
        Self { port, habits }
    }

    /// Asks, and asks again if the connection was lost meanwhile. Tells whether it was.
    async fn ask(&self, request: Request) -> Result<(Answer, bool), Unavailable> {
        let mut lost = false;
        loop {
            match self.port.exchange(request.clone()).await {
                Ok(answer) => return Ok((answer, lost && !self.habits.forgets_that_it_asked)),
                Err(Unanswered::Lost) if !lost => lost = true,
                Err(_) => return Err(Unavailable),
            }
        }
    }

    fn left(&self, stored: Stored, asked: Micros) -> Stored {
        let since = if self.habits.counts_from_the_answer { 0 } else { self.port.now() - asked };
        Stored { ttl: stored.ttl.saturating_sub(span(since)), ..stored }
    }

    /// As the interface `cache` has it; so are all functions here.
    ///
    /// # Errors
    /// [`Unavailable`] if there was no answer.
    pub async fn set_if_absent(&self, key: &str, value: &str, ttl_ms: Option<u64>) -> Result<Set, Unavailable> {
        let asked = self.port.now();
        let gone = asked + ttl_ms.unwrap_or(DEFAULT_TTL_MS) * MILLISECOND;
        let unowned = Unowned { key: key.to_owned(), value: value.to_owned(), gone };
        self.note(asked, Some(Some(unowned)));
        let request = Request::Set { key: key.to_owned(), value: value.to_owned(), ttl_ms };
        match self.ask(request).await? {
            (Answer::Set(Set::Stored(stored)), _) => Ok(Set::Stored(self.left(stored, asked))),
            (Answer::Set(occupied), _) => {
                self.note(asked, Some(None));
                Ok(occupied)
            }
            _ => Err(Unavailable),
        }
    }

    /// Replaces the time to live if exactly `value` lies there.
    ///
    /// # Errors
    /// [`Unavailable`] if there was no answer.
    pub async fn extend_if_equal(&self, key: &str, value: &str, ttl_ms: u64) -> Result<Extend, Unavailable> {
        let asked = self.port.now();
        self.note(asked, None);
        let request = Request::Extend { key: key.to_owned(), value: value.to_owned(), ttl_ms };
        match self.ask(request).await? {
            (Answer::Extend(Extend::Extended(stored)), _) => Ok(Extend::Extended(self.left(stored, asked))),
            (Answer::Extend(refused), _) => Ok(refused),
            _ => Err(Unavailable),
        }
    }

    /// Deletes the key if exactly `value` lies there.
    ///
    /// # Errors
    /// [`Unavailable`] if there was no answer.
    pub async fn delete_if_equal(&self, key: &str, value: &str) -> Result<Delete, Unavailable> {
        let request = Request::Delete { key: key.to_owned(), value: value.to_owned() };
        match self.ask(request).await? {
            // Whose answer was lost may have deleted the key, and another may have set it since.
            (Answer::Delete(Delete::Different), true) => Ok(Delete::Absent),
            (Answer::Delete(delete), _) => Ok(delete),
            _ => Err(Unavailable),
        }
    }

    /// Reads what lies under the key.
    ///
    /// # Errors
    /// [`Unavailable`] if there was no answer.
    pub async fn get(&self, key: &str) -> Result<Option<Entry>, Unavailable> {
        match self.ask(Request::Get { key: key.to_owned() }).await? {
            (Answer::Get(entry), _) => Ok(entry),
            _ => Err(Unavailable),
        }
    }

    /// Waits until the key may be absent, and returns the milliseconds left of `timeout_ms`.
    ///
    /// # Errors
    /// [`Unavailable`] if there was no answer.
    pub async fn wait_until_absent(&self, key: &str, timeout_ms: u64) -> Result<u64, Unavailable> {
        let end = self.port.now() + timeout_ms * MILLISECOND;
        // Listening begins before the look, so that no deletion is missed.
        self.port.listen(key);
        if let (Answer::Left(Some(left)), _) = self.ask(Request::Watch { key: key.to_owned() }).await? {
            let left = u64::try_from(left.as_micros()).unwrap_or(Micros::MAX);
            let now = self.port.now();
            self.port.nap(end.min(now.saturating_add(left)).max(now)).await;
        }
        Ok(end.saturating_sub(self.port.now()).div_ceil(MILLISECOND))
    }

    /// Random bits, as good as any here: nobody gets them twice.
    #[must_use]
    pub fn random(&self) -> u64 {
        self.port.world().mint()
    }

    /// What the wall clock of this machine says, in microseconds. Machines do not agree on that.
    #[must_use]
    pub fn wall_clock(&self) -> u64 {
        let behind = self.port.host() as u64 * 1000 * MILLISECOND;
        let world = self.port.world();
        world.table.wall(world.now) - behind
    }

    fn note(&self, asked: Micros, unowned: Option<Option<Unowned>>) {
        let mut world = self.port.world();
        let Some(call) = &mut world.processes[self.port.process()].call else { return };
        call.asked = asked;
        if let Some(unowned) = unowned {
            call.unowned = unowned;
        }
    }
}

/// Milliseconds, fractions rounded down: for what is left of a time to live.
pub(crate) fn full_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
