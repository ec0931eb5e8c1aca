//! One call that waits in a queue.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::{sleep, sleep_until};

use super::Memory;
use super::queue::{QueueEntry, State};
use crate::store::{CacheError, ErrorKind, SetOutcome, Stored};

/// A call that waits, one of the callers of its entry. Dropping it ends the wait at once, and removes the value if no other call waits for it.
pub(super) struct Waiter {
    memory: Memory,
    key: String,
    entry: Arc<QueueEntry>,
    state: watch::Receiver<State>,
    /// Whether the call answers that the value is stored.
    owned: bool,
    left: bool,
}

impl Waiter {
    pub(super) fn new(memory: Memory, key: &str, entry: Arc<QueueEntry>) -> Self {
        let state = entry.subscribe();
        Self { memory, key: key.to_owned(), entry, state, owned: false, left: false }
    }

    pub(super) async fn wait(mut self, wait: Duration) -> Result<SetOutcome, CacheError> {
        let mut over = pin!(sleep(wait));
        loop {
            // The borrow must end here: the next step may take the lock under which states are changed.
            let state = *self.state.borrow_and_update();
            if let Some(answer) = self.answer(state) {
                return answer;
            }
            let expires = if let State::Head(expires) = state { Some(expires) } else { None };
            tokio::select! {
                biased;
                _ = self.state.changed() => {}
                () = expiry(expires) => drop(self.memory.table()),
                () = &mut over => return self.leave(),
            }
        }
    }

    /// The last step: what is true when the wait is over.
    fn leave(&mut self) -> Result<SetOutcome, CacheError> {
        let memory = self.memory.clone();
        let (mut table, now) = memory.table();
        if let Some(answer) = self.answer(self.entry.state()) {
            return answer;
        }
        table.leave(&self.key, &self.entry, false, now);
        self.left = true;
        table.set_if_absent(&self.key, &self.entry.value, self.entry.ttl, now)
    }

    fn answer(&mut self, state: State) -> Option<Result<SetOutcome, CacheError>> {
        match state {
            State::Queued | State::Head(_) => None,
            State::Stored(stored) | State::Owned(stored) => Some(Ok(self.own(stored))),
            State::Withdrawn => {
                Some(Err(CacheError::new(ErrorKind::Unavailable, "the request was withdrawn while it waited")))
            }
        }
    }

    fn own(&mut self, stored: Stored) -> SetOutcome {
        self.owned = true;
        SetOutcome::Stored(stored)
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if !self.left {
            let (mut table, now) = self.memory.table();
            table.leave(&self.key, &self.entry, self.owned, now);
        }
    }
}

/// The end of the value that is stored now, for the head of a queue.
async fn expiry(expires: Option<Instant>) {
    match expires {
        Some(expires) => sleep_until(expires.into()).await,
        None => std::future::pending().await,
    }
}
