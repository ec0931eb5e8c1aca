//! What came of work under a lock.

use super::lost_reason::LostReason;
use crate::Holder;

/// The answers of [`Locker::with`](crate::Locker::with).
#[derive(Clone, Debug)]
#[must_use = "the work may not have been done"]
pub enum WithOutcome<T> {
    /// The work was done while the lock was held.
    Done(T),
    /// Another caller holds the lock, and kept it for as long as this one would wait. The work was not begun.
    Held(Holder),
    /// The lock was lost.
    Lost {
        /// Why.
        reason: LostReason,
        /// What came of the work, if it was done when the loss was noticed: another may have worked beside it. Else it
        /// was cancelled.
        done: Option<T>,
    },
}
