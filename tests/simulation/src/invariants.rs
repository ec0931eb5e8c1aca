//! What must be so in every world, and after every step.

use std::fmt;

/// What must be so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "each says in a sentence what it is")]
pub enum Invariant {
    AtMostOneHolder,
    LeasesLast,
    FencesRise,
    NoOlderWrite,
    ReleasesRemoveOnlyTheirOwn,
    ReleasesTellTheTruth,
    OnlyLocksTakeLocks,
    ExtensionsTellTheTruth,
    NothingOutlivesItsTime,
    EveryCallEnds,
    NoCallGivesUpEarly,
    NoCallRefusesItself,
    HoldersAreReal,
    FailedCallsLeaveNothing,
    TokensStaySecret,
    FirstComeFirstServed,
    AttemptsOvertakeNoWaiter,
    NoWaiterIsForgotten,
    NoWaiterIsDropped,
    DeadWaitersCostOneLease,
    WithdrawnStaysWithdrawn,
    NothingHappensLate,
    FencesNeverRepeat,
    EntriesEndWithTheirCallers,
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AtMostOneHolder => "a name has at most one unexpired holder",
            Self::LeasesLast => "a lease is in the store for as long as its holder counts on it",
            Self::FencesRise => "every later grant has a higher fence",
            Self::NoOlderWrite => "a guarded resource takes no older holder's write after a newer one's",
            Self::ReleasesRemoveOnlyTheirOwn => "no client removes another's lock",
            Self::ReleasesTellTheTruth => "a release tells what became of the lock",
            Self::OnlyLocksTakeLocks => "only a call that locks takes a lock",
            Self::ExtensionsTellTheTruth => "an extension tells what became of the lock",
            Self::NothingOutlivesItsTime => "nothing outlives its time to live",
            Self::EveryCallEnds => "every call ends",
            Self::NoCallGivesUpEarly => "no call gives up before its wait is over",
            Self::NoCallRefusesItself => "no call is refused because of a value that it stored itself",
            Self::HoldersAreReal => "a holder that a caller is told of was there",
            Self::FailedCallsLeaveNothing => "a call that failed leaves nothing in the store",
            Self::TokensStaySecret => "no caller is told another's token",
            Self::FirstComeFirstServed => "live waiters are served in the order in which they came",
            Self::AttemptsOvertakeNoWaiter => "a call without a place in the queue overtakes no live waiter",
            Self::NoWaiterIsForgotten => "a live waiter learns within seconds that a lock is free or its own",
            Self::NoWaiterIsDropped => "a live waiter stays in the queue until it has the lock or leaves",
            Self::DeadWaitersCostOneLease => "a waiter that does not ask again gets the lock once at most",
            Self::WithdrawnStaysWithdrawn => "a withdrawn value is neither queued nor stored later",
            Self::NothingHappensLate => "no request takes effect after its client gave up on it",
            Self::FencesNeverRepeat => "no two grants have the same fence",
            Self::EntriesEndWithTheirCallers => "a queue entry does not outlive its caller",
        })
    }
}

/// An invariant that does not hold, and how it shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What should have been so.
    pub invariant: Invariant,
    /// What was so.
    pub what: String,
}
