//! The place of one call in the queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::oneshot;

use super::calls::Calls;
use super::failure::Failure;
use crate::store::Stored;

/// How a wait ends before its time is over.
pub(super) type Ending = Result<Stored, Failure>;

/// What the calls that wait for one value under one key have in common.
pub(super) struct Shared {
    pub(super) key: Arc<str>,
    pub(super) value: Arc<str>,
    /// The number of the waiter in this process.
    pub(super) id: u64,
    calls: Arc<Calls>,
    seats: AtomicUsize,
    /// Whether a caller knows that the value is stored.
    owned: AtomicBool,
}

/// One of these calls. When the last of them goes away without an answer, the value is withdrawn.
pub(super) struct Seat {
    pub(super) shared: Arc<Shared>,
    pub(super) number: u64,
    ending: oneshot::Receiver<Ending>,
    answered: bool,
}

impl Shared {
    pub(super) fn new(key: Arc<str>, value: Arc<str>, id: u64, calls: Arc<Calls>) -> Self {
        Self { key, value, id, calls, seats: AtomicUsize::new(0), owned: AtomicBool::new(false) }
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.seats.load(Ordering::SeqCst) == 0 && !self.owned.load(Ordering::SeqCst)
    }
}

impl Seat {
    pub(super) fn new(shared: Arc<Shared>, number: u64) -> (Self, oneshot::Sender<Ending>) {
        let (sender, ending) = oneshot::channel();
        shared.seats.fetch_add(1, Ordering::SeqCst);
        (Self { shared, number, ending, answered: false }, sender)
    }

    /// Waits until the value is stored or withdrawn.
    pub(super) async fn ending(&mut self) -> Ending {
        (&mut self.ending).await.unwrap_or_else(|_| Err(Failure::unavailable("the local store was closed")))
    }

    /// The call answers, so there is nothing to undo.
    pub(super) fn answered(mut self, owns: bool) {
        if owns {
            self.shared.owned.store(true, Ordering::SeqCst);
        }
        self.answered = true;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let last = self.shared.seats.fetch_sub(1, Ordering::SeqCst) == 1;
        if last && !self.answered && self.shared.is_abandoned() {
            self.shared.calls.abandon(self.shared.clone());
        }
    }
}
