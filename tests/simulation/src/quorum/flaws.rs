//! Members that are broken on purpose.

/// What a member does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// A withdrawal of a vote removes the value, whatever its revision is.
    WithdrawsAnyRevision,
    /// A vote is stored with a revision that the member chooses.
    ChoosesRevisions,
    /// An extension stores the value again if the key is free.
    ExtendCreates,
    /// A vote for a key that is free is told the value of another member.
    ReportsOthers,
    /// Withdrawals are answered and change nothing.
    KeepsVotes,
    /// A vote is stored with any revision.
    AcceptsAnyRevision,
    /// A value that was withdrawn is stored all the same.
    ForgetsWithdrawals,
    /// The withdrawal of a vote does not raise the counter.
    LetsLateVotesIn,
    /// A value expires before its time.
    ExpiresEarly,
    /// A vote or a restoration replaces another value.
    Overwrites,
    /// A repeated vote keeps the revision of the first.
    KeepsFirstRevision,
    /// A restoration gets a revision of the member's own.
    RestoresWithOwnRevision,
}
