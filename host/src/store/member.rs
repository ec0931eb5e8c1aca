//! What a store must be able to do to be a member of a quorum.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use async_trait::async_trait;

use super::{Cache, CacheError, Entry, ExtendOutcome, SetOutcome, Stored};

/// What a [`Quorum`](crate::Quorum) needs of its members, besides what a [`Cache`] does.
///
/// A member gives a key to one value at a time, like any store. The quorum chooses the revisions. A member refuses a revision that is
/// not higher than every revision it has stored under the key, so the revisions of a key increase from vote to vote.
#[async_trait]
pub trait QuorumMember: Cache {
    /// Returns when `key` may be free, or when `timeout` has passed. It may return early, but not all the time.
    ///
    /// # Errors
    /// [`CacheError`].
    async fn watch(&self, key: &str, timeout: Duration) -> Result<(), CacheError>;

    /// Stores the value of `vote` under `key` with the revision of `vote`, past the queue, if the key is free and the revision is higher
    /// than every revision that this member has stored under the key.
    ///
    /// # Errors
    /// [`CacheError`]; only after `Unavailable` may the value have been stored.
    async fn vote(&self, key: &str, vote: Vote<'_>) -> Result<VoteOutcome, CacheError>;

    /// Removes `value` from `key` if its revision is one of `revisions`: those of the votes of one candidate. From then on the member refuses votes
    /// with the last of them or a lower one. So a vote that arrives late has no effect, and neither does a withdrawal that arrives after a vote
    /// for the value with a higher revision, also if the value kept its revision.
    ///
    /// # Errors
    /// [`CacheError`]; only after `Unavailable` may the value have been removed.
    async fn withdraw_vote(&self, key: &str, value: &str, revisions: RangeInclusive<u64>) -> Result<(), CacheError>;

    /// Replaces `value` as [`Cache::replace_if_equal`] does. After a [`Cache::withdraw`] of the replacement it fails: in a quorum a replacement may
    /// arrive at a member after others have revoked or refused it.
    ///
    /// # Errors
    /// [`CacheError`]; only after `Unavailable` may the value have been replaced.
    async fn replace_vote(
        &self,
        key: &str,
        value: &str,
        replacement: &str,
        ttl: Duration,
    ) -> Result<ExtendOutcome, CacheError>;

    /// Stores `value` under `key` again, with the revision it has on other members, past the queue. Another value under the key stays. If
    /// the member has the value with a lower revision, it raises the revision, and shortens no time to live. After a [`Cache::withdraw`] of the value it fails.
    ///
    /// # Errors
    /// [`CacheError`]; only after `Unavailable` may the value have been stored.
    async fn restore(&self, key: &str, value: &str, ttl: Duration, revision: u64) -> Result<SetOutcome, CacheError>;
}

/// What a candidate for a key asks of each member of a quorum.
#[derive(Clone, Copy)]
pub struct Vote<'a> {
    /// The value to store.
    pub value: &'a str,
    /// For how long to store it.
    pub ttl: Duration,
    /// The revision to store it with.
    pub revision: u64,
    /// The revision of the first vote of the candidate. This vote replaces the revision and the time to live of an earlier one of the candidate. A
    /// value that was stored with a revision before that keeps both.
    pub since: u64,
}

impl fmt::Debug for Vote<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ttl, revision, since, .. } = self;
        let mut vote = f.debug_struct("Vote");
        vote.field("ttl", ttl).field("revision", revision).field("since", since).finish_non_exhaustive()
    }
}

/// The answers of [`QuorumMember::vote`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VoteOutcome {
    /// The member has the value under the key, with this revision: the one of the vote, or the one of an earlier vote for the value.
    Stored(Stored),
    /// The member has another value under the key.
    Occupied(Entry),
    /// The key is free, but the member has already stored this revision, which is not lower than the one of the vote.
    Outdated(u64),
}
