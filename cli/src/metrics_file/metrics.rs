//! The metrics of a job, and how they add up over its runs.

use std::time::Duration;

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The command exited with 0.
    Done,
    /// The command failed, or could not be started.
    Failed,
    /// Another caller held the lock.
    Held,
    /// The lock was lost.
    Lost,
    /// The store was unavailable.
    Unavailable,
    /// A signal ended the wait for the lock.
    Interrupted,
    /// The call was refused, or misconfigured, or had a fault.
    Error,
}

/// All outcomes with their labels, in the order in which they are counted.
pub(super) const OUTCOMES: [(Outcome, &str); 7] = [
    (Outcome::Done, "done"),
    (Outcome::Failed, "failed"),
    (Outcome::Held, "held"),
    (Outcome::Lost, "lost"),
    (Outcome::Unavailable, "unavailable"),
    (Outcome::Interrupted, "interrupted"),
    (Outcome::Error, "error"),
];

/// A call that has ended.
pub(super) struct Attempt {
    pub(super) outcome: Outcome,
    pub(super) exit_code: u8,
    pub(super) waited: Duration,
    pub(super) ran: Duration,
    /// Since the beginning of 1970.
    pub(super) ended: Duration,
}

/// What a file has of earlier calls: the counters, and the one time that must survive a failure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    /// The number of calls for each of [`OUTCOMES`].
    pub(super) attempts: [u64; OUTCOMES.len()],
    pub(super) waited: Duration,
    pub(super) ran: Duration,
    /// When the command last succeeded, since the beginning of 1970; zero if it never did.
    pub(super) last_success: Duration,
}

impl Totals {
    /// The totals after one more call.
    pub(super) fn with(mut self, attempt: &Attempt) -> Self {
        for (count, (outcome, _)) in self.attempts.iter_mut().zip(OUTCOMES) {
            *count = count.saturating_add(u64::from(outcome == attempt.outcome));
        }
        self.waited = self.waited.saturating_add(attempt.waited);
        self.ran = self.ran.saturating_add(attempt.ran);
        if attempt.outcome == Outcome::Done {
            self.last_success = attempt.ended;
        }
        self
    }
}
