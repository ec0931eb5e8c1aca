//! What a store must be able to do to carry locks.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::time::sleep;

use crate::ErrorKind;

/// A value that the store has under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Larger for every later value of the same key: past deletion, expiry, reconnection and restarts.
    pub revision: u64,
    /// Until when the store keeps the value at least, by this process's monotonic clock. It is computed from an instant before
    /// the request was sent, so response times never make it too late.
    pub deadline: Instant,
}

/// What the store has under a key.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// The whole value; a part of it if it is a foreign value, which was not set through a [`Cache`].
    pub value: String,
    /// The revision it was set with; 0 for a foreign value.
    pub revision: u64,
    /// The time left before the key expires; none if it never does.
    pub ttl: Option<Duration>,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The value is a token.
        f.debug_struct("Entry").field("revision", &self.revision).field("ttl", &self.ttl).finish_non_exhaustive()
    }
}

/// The answers of [`Cache::set_if_absent`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetOutcome {
    /// The store has the value under the key.
    Stored(Stored),
    /// The store has another value under the key, and the caller is not in the queue.
    Occupied(Entry),
}

/// The answers of [`Cache::extend_if_equal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtendOutcome {
    /// The key has the new time to live. Its revision is the one it was set with.
    Extended(Stored),
    /// The store had nothing under the key, and nothing was created.
    Absent,
    /// The store has another value under the key, and did not change its time to live.
    Different,
}

/// The answers of [`Cache::delete_if_equal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteOutcome {
    /// The value is gone. The next caller in the queue may already have the key.
    Deleted,
    /// The store had nothing under the key.
    Absent,
    /// The store has another value under the key, and kept it.
    Different,
}

/// An expiring store with atomic conditional writes: all that the lock logic sees of the world, besides random bytes.
///
/// Every function is one atomic step for all users of the store; a call that waits is two, one when it enters the queue and
/// one when it leaves it. A future may be dropped at any time: then each step happened as a whole or not at all, and
/// [`Cache::withdraw`] undoes what was set. Times are exact to the millisecond.
///
/// [`Memory`](crate::Memory) and `Redis` implement it. A store of your own needs five functions. It can start as a wrapper:
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use std::time::Duration;
/// use locker_host::{Cache, CacheError, DeleteOutcome, Entry, ExtendOutcome, Locker, Memory, SetOutcome};
///
/// #[derive(Default)]
/// struct Counting { inner: Memory, attempts: AtomicU64 }
///
/// #[async_trait::async_trait]
/// impl Cache for Counting {
///     async fn try_set(&self, key: &str, value: &str, ttl: Option<Duration>) -> Result<SetOutcome, CacheError> {
///         self.attempts.fetch_add(1, Ordering::Relaxed);
///         self.inner.try_set(key, value, ttl).await
///     }
///     async fn extend_if_equal(&self, key: &str, value: &str, ttl: Duration) -> Result<ExtendOutcome, CacheError> {
///         self.inner.extend_if_equal(key, value, ttl).await
///     }
///     async fn delete_if_equal(&self, key: &str, value: &str) -> Result<DeleteOutcome, CacheError> {
///         self.inner.delete_if_equal(key, value).await
///     }
///     async fn get(&self, key: &str) -> Result<Option<Entry>, CacheError> {
///         self.inner.get(key).await
///     }
/// }
///
/// let locker = Locker::new(Counting::default()).unwrap();
/// ```
#[async_trait]
pub trait Cache: Send + Sync + 'static {
    /// Makes one attempt: [`Cache::set_if_absent`] without a wait.
    ///
    /// # Errors
    /// [`CacheError`]; only after `Unavailable` may the value have been stored.
    async fn try_set(&self, key: &str, value: &str, ttl: Option<Duration>) -> Result<SetOutcome, CacheError>;

    /// Stores `value` under `key` for `ttl`, or for the store's default time to live, unless the store has another value there.
    /// If it has, waits for up to `wait` in the queue for the key, and answers what is true when the caller leaves the queue.
    /// A value that the store already has under the key, or in its queue, is the same request repeated: it keeps its revision,
    /// its time to live and its place. After an error, the value must not be used again: the host withdraws it.
    ///
    /// A store whose [`Cache::is_fifo`] is true serves its queues first come, first served, across all of its users. This default
    /// has no queue: it makes attempts at growing intervals of up to half a second, and the first one to find the key free has it.
    ///
    /// # Errors
    /// [`CacheError`]; only after `Unavailable` may the value have been stored or queued.
    async fn set_if_absent(
        &self,
        key: &str,
        value: &str,
        ttl: Option<Duration>,
        wait: Duration,
    ) -> Result<SetOutcome, CacheError> {
        poll(wait, || self.try_set(key, value, ttl)).await
    }

    /// The time to live of values that are stored without one.
    fn default_ttl(&self) -> Duration {
        Duration::from_secs(30)
    }

    /// Whether callers that wait are served first come, first served, whatever freed the key, and are never overtaken by callers
    /// that do not wait.
    fn is_fifo(&self) -> bool {
        false
    }

    /// Replaces the time to live of `key`, to a longer or a shorter one, if the store has exactly `value` there.
    ///
    /// # Errors
    /// [`CacheError`]; only after `Unavailable` may the time have been replaced.
    async fn extend_if_equal(&self, key: &str, value: &str, ttl: Duration) -> Result<ExtendOutcome, CacheError>;

    /// Deletes exactly `value` from `key`, and gives the key to the first caller in its queue, if it has one.
    ///
    /// # Errors
    /// [`CacheError`]; only after `Unavailable` may the value have been deleted.
    async fn delete_if_equal(&self, key: &str, value: &str) -> Result<DeleteOutcome, CacheError>;

    /// Undoes a [`Cache::set_if_absent`] whose caller went away: removes `value` from the queue for `key` and, as
    /// [`Cache::delete_if_equal`] does, from the key. May be repeated. The host repeats it until it is answered, or until the
    /// value has expired.
    ///
    /// The default is right for a store that has no queue and in which no request arrives after a later one.
    ///
    /// # Errors
    /// [`CacheError`]; only after `Unavailable` may the value have been removed.
    async fn withdraw(&self, key: &str, value: &str) -> Result<(), CacheError> {
        self.delete_if_equal(key, value).await.map(|_| ())
    }

    /// Reads what the store has under `key`.
    ///
    /// # Errors
    /// [`CacheError`].
    async fn get(&self, key: &str) -> Result<Option<Entry>, CacheError>;

    /// Returns when nothing of earlier calls goes on in the background, or when waiting longer would not help. This default returns at once.
    async fn close(&self) {}

    /// All keys, in any order: what [`Locker::list`](crate::Locker::list) is made of. Keys that come or go meanwhile may
    /// be among them or not.
    ///
    /// # Errors
    /// [`CacheError`]; `Denied` from a store that does not implement this.
    async fn keys(&self) -> Result<Vec<String>, CacheError> {
        Err(CacheError::new(ErrorKind::Denied, "this cache does not list its keys"))
    }
}

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
    /// with a higher revision.
    ///
    /// # Errors
    /// [`CacheError`]; only after `Unavailable` may the value have been removed.
    async fn withdraw_vote(&self, key: &str, value: &str, revisions: RangeInclusive<u64>) -> Result<(), CacheError>;

    /// Stores `value` under `key` again, with the revision it has on other members, past the queue. Another value under the key stays. If
    /// the member has the value with a lower revision, it raises the revision. After a [`Cache::withdraw`] of the value it fails.
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

/// Makes attempts at growing intervals until one succeeds, and a last one when `wait` is over.
async fn poll<F>(wait: Duration, attempt: impl Fn() -> F) -> Result<SetOutcome, CacheError>
where
    F: Future<Output = Result<SetOutcome, CacheError>>,
{
    const SHORTEST: Duration = Duration::from_millis(10);
    const LONGEST: Duration = Duration::from_millis(500);
    let (started, mut interval) = (Instant::now(), SHORTEST);
    loop {
        let left = wait.saturating_sub(started.elapsed());
        let outcome = attempt().await?;
        if left.is_zero() || matches!(outcome, SetOutcome::Stored(_)) {
            return Ok(outcome);
        }
        sleep(interval.min(left)).await;
        interval = (2 * interval).min(LONGEST);
    }
}

/// Why a [`Cache`] gave no answer.
///
/// ```
/// use locker_host::{CacheError, ErrorKind};
///
/// let error = CacheError::new(ErrorKind::Unavailable, "no answer from the store in 5 s");
/// assert_eq!(error.kind(), ErrorKind::Unavailable);
/// ```
#[derive(Debug)]
pub struct CacheError {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl CacheError {
    /// An error that says in `message` what failed and what to do about it. It must hold no secrets.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// Adds the error beneath this one.
    #[must_use]
    pub fn caused_by(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(Box::new(source));
        self
    }

    /// The class of the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for CacheError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CacheError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| &**source as _)
    }
}
