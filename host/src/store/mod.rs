//! The trait `Cache`: what a store must be able to do to keep locks. Stores know nothing of locks.
//!
//! - `memory`, `local`, `redis`, `quorum`: the stores. Each queues its waiters itself.
//! - `member`: what a quorum needs of its members; `orphan_cleanup`: withdraws values whose caller was cancelled; `error`: errors.
//! - `outage`: what a waiter outlasts; `finding`: what a check of a store found; `measure`: what a lock costs on any store.

mod error;
mod finding;
#[cfg(all(feature = "local", target_os = "linux"))]
pub(crate) mod local;
mod measure;
mod member;
pub(crate) mod memory;
pub(crate) mod orphan_cleanup;
pub(crate) mod outage;
pub(crate) mod quorum;
#[cfg(feature = "redis")]
pub(crate) mod redis;

use std::fmt;
use std::pin::Pin;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::time::sleep;

pub use self::error::{CacheError, ErrorKind};
pub use self::finding::{Finding, Status};
pub use self::member::{QuorumMember, Vote, VoteOutcome};
use crate::time::{elapsed, now};

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

/// The answers of [`Cache::extend_if_equal`] and [`Cache::replace_if_equal`].
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
/// use locker_host::cache::{DeleteOutcome, Entry, ExtendOutcome, SetOutcome};
/// use locker_host::{Cache, CacheError, Locker, Memory};
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
    /// [`CacheError`]; only if it [may have taken effect](CacheError::may_have_taken_effect), the value may have been stored or queued.
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

    /// Puts `replacement` in the place of `value` under `key`, with its revision and the time to live `ttl`, if the store has exactly `value`
    /// there. Calls that wait for the key go on waiting. If the store has `replacement` there, it is the same request repeated.
    ///
    /// # Errors
    /// [`CacheError`]; only after `Unavailable` may the value have been replaced. `Denied` from a store that does not implement this.
    async fn replace_if_equal(
        &self,
        _key: &str,
        _value: &str,
        _replacement: &str,
        _ttl: Duration,
    ) -> Result<ExtendOutcome, CacheError> {
        Err(CacheError::new(ErrorKind::Denied, "this cache does not replace values"))
    }

    /// Deletes exactly `value` from `key`, and gives the key to the first caller in its queue, if it has one.
    ///
    /// # Errors
    /// [`CacheError`]; only after `Unavailable` may the value have been deleted.
    async fn delete_if_equal(&self, key: &str, value: &str) -> Result<DeleteOutcome, CacheError>;

    /// Deletes exactly `value` from `key` as [`Cache::delete_if_equal`] does, although its holder did not ask for that and may be extending it. What
    /// the holder asks for meanwhile does not bring the value back. This default is right for a store that executes each request as one step.
    ///
    /// # Errors
    /// [`CacheError`]; only after `Unavailable` may the value have been deleted.
    async fn revoke_if_equal(&self, key: &str, value: &str) -> Result<DeleteOutcome, CacheError> {
        self.delete_if_equal(key, value).await
    }

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

    /// Tells the callers that [listen](Cache::listen_for_revocation), in all processes, that the value with this revision was taken from
    /// `key` although its holder did not ask for that. This default tells none.
    ///
    /// # Errors
    /// [`CacheError`]. The holder then learns of it when it next extends the value.
    async fn announce_revocation(&self, _key: &str, _revision: u64) -> Result<(), CacheError> {
        Ok(())
    }

    /// Begins to listen, and returns what resolves when the value with this revision was revoked: to true if that was announced, and to false
    /// if an announcement may have been missed. None, as this default returns, if the store cannot tell.
    async fn listen_for_revocation(&self, _key: &str, _revision: u64) -> Option<Revocation> {
        None
    }

    /// Begins to listen for changes of `key`, and returns what resolves when its value may have changed since. It may resolve early, but not all
    /// the time, and may miss that a value expires. What this default returns resolves after a quarter of a second.
    ///
    /// # Errors
    /// [`CacheError`].
    async fn listen_for_change(&self, _key: &str) -> Result<Change, CacheError> {
        Ok(Box::pin(sleep(Duration::from_millis(250))))
    }

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

    /// Looks for what may keep locks from working on this store: what [`Locker::check`](crate::Locker::check) is made of. It uses keys that
    /// no caller locks, touches no others, and leaves nothing that does not expire within seconds.
    ///
    /// This default takes and releases a lock, and hands it over to a caller that waits, a few times each.
    async fn check(&self) -> Vec<Finding> {
        measure::measure(self, "the store", &measure::unused_key()).await
    }
}

/// Resolves when a value was revoked. [`Cache::listen_for_revocation`] says how.
pub type Revocation = Pin<Box<dyn Future<Output = bool> + Send>>;

/// Resolves when a value may have changed. [`Cache::listen_for_change`] says how.
pub type Change = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Makes attempts at growing intervals until one succeeds, and a last one when `wait` is over.
async fn poll<F>(wait: Duration, attempt: impl Fn() -> F) -> Result<SetOutcome, CacheError>
where
    F: Future<Output = Result<SetOutcome, CacheError>>,
{
    const SHORTEST: Duration = Duration::from_millis(10);
    const LONGEST: Duration = Duration::from_millis(500);
    let (started, mut interval) = (now(), SHORTEST);
    loop {
        let left = wait.saturating_sub(elapsed(started));
        let outcome = attempt().await?;
        if left.is_zero() || matches!(outcome, SetOutcome::Stored(_)) {
            return Ok(outcome);
        }
        sleep(interval.min(left)).await;
        interval = (2 * interval).min(LONGEST);
    }
}
