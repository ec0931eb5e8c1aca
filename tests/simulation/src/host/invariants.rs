//! What must be so.

use std::fmt;

/// What must be so in every world of whole hosts, unless the world lost data that it depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostInvariant {
    /// Two callers never hold a lock at the same time.
    AtMostOneHolder,
    /// A later grant has a higher fence.
    FencesIncrease,
    /// All answers about a lease name the same fence.
    OneFencePerLease,
    /// A holder's write is accepted, and no older holder's write after it.
    WritesAreFenced,
    /// A lease that is valid is in the store.
    LeasesLast,
    /// A released lock is not held any more, and a refusal to release it is true.
    ReleasesTellTheTruth,
    /// An extension says for how long the store keeps the lock, and why it does not.
    ExtensionsTellTheTruth,
    /// A caller that is told of a holder is told of a real one.
    HoldersAreReal,
    /// A call ends soon after its wait.
    EveryCallEnds,
    /// No waiter that lives is overtaken.
    FirstComeFirstServed,
    /// A lock that becomes free is granted to a waiter that lives.
    FreeLocksAreGranted,
    /// A lock is handed to a waiter that the server can tell.
    HandOffsReachWaiters,
    /// A waiter that lives learns at once of the lock that it was handed.
    WaitersAreTold,
    /// What a caller gave up is removed from the store, before it would expire.
    GivenUpIsRemoved,
    /// When the world is quiet, only fence counters are in the store, and no channel is subscribed.
    NothingIsLeft,
    /// A guard reports its loss before another caller has the lock.
    LossesAreReported,
    /// Only the holder with the fence that a revocation names loses the lock.
    RevocationsAreFenced,
    /// The guard of a lock that was revoked is told; if the message is lost, it learns of it when it renews the lock.
    RevocationsAreReported,
    /// A lock whose work is done stays taken for the period, with its fence.
    CompletionsLast,
    /// A watcher sees the last change.
    WatchersSeeChanges,
    /// A leader goes on after an outage.
    LeadersOutlastOutages,
    /// A grant, and the work that begins with it, has time left.
    GrantsHaveTime,
    /// A call fails only while something is wrong with the world.
    HealthyCallsSucceed,
    /// Nothing panics.
    NoPanic,
    /// When all is done, no task is left.
    NoTaskIsLeft,
}

/// What was not so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostViolation {
    /// What should have been so.
    pub invariant: HostInvariant,
    /// What was the case instead.
    pub what: String,
}

impl fmt::Display for HostViolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.invariant, self.what)
    }
}
