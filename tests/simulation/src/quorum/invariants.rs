//! What must be so.

use std::fmt;

/// What must be so in every world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuorumInvariant {
    /// Two callers never hold a lock at the same time.
    AtMostOneHolder,
    /// A later grant has a higher fence.
    FencesIncrease,
    /// All answers about a lease name the same fence.
    OneFencePerLease,
    /// A value that is named as the holder's had votes of a majority during the call.
    HoldersAreReal,
    /// A lease that is valid is not answered to be lost, and a lock that is held not to be free.
    LeasesLast,
    /// Of several callers of a free lock, one has it, and the others are told of a holder.
    ContentionIsDecided,
    /// A hold that is renewed survives when the members start again empty, one after the other.
    RenewedHoldsSurvive,
    /// A caller that waits has a lock soon after it becomes free.
    FreeLocksAreGranted,
    /// A call ends soon after its wait.
    EveryCallEnds,
    /// What callers gave up is removed.
    NothingIsLeft,
    /// Nothing panics.
    NoPanic,
    /// When all is done, no task is left.
    NoTaskIsLeft,
}

/// What was not so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumViolation {
    /// What should have been so.
    pub invariant: QuorumInvariant,
    /// What was the case instead.
    pub what: String,
}

impl fmt::Display for QuorumViolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.invariant, self.what)
    }
}
