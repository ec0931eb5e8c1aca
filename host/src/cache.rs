//! What a store must be able to do to carry locks.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use crate::ErrorKind;

/// A value that now lies under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Rises with every successful set of the key, for ever: past deletion, expiry, reconnection and restarts.
    pub revision: u64,
    /// How long the key lives from the moment in which the store was asked, at least. Time that the answer took is not to be
    /// subtracted.
    pub ttl: Duration,
}

/// What lies under a key.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// The whole value.
    pub value: String,
    /// The revision it was set with; 0 if it was not set through [`Cache::set_if_absent`].
    pub revision: u64,
    /// The time left before the key expires; none if it never does.
    pub ttl: Option<Duration>,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The value is somebody's token.
        f.debug_struct("Entry").field("revision", &self.revision).field("ttl", &self.ttl).finish_non_exhaustive()
    }
}

/// The answers of [`Cache::set_if_absent`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Set {
    /// The value now lies under the key.
    Stored(Stored),
    /// Another value lies there, and nothing was changed.
    Occupied(Entry),
}

/// The answers of [`Cache::extend_if_equal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extend {
    /// The key now has the new time to live; its revision is the one it was set with.
    Extended(Stored),
    /// There is no such key, and none was created.
    Absent,
    /// Another value lies there, and its time to live was left alone.
    Different,
}

/// The answers of [`Cache::delete_if_equal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delete {
    /// The key is gone.
    Deleted,
    /// There was no such key.
    Absent,
    /// Another value lies there, and was left alone.
    Different,
}

/// An expiring store with atomic conditional writes: the whole of what the lock logic sees of the world.
///
/// Every function but the wait is one atomic step for all users of the store, and may be dropped before it is done;
/// then the step happened as a whole or not at all. Times are exact to the millisecond. What the store means by its
/// default time to live is its own affair.
///
/// [`Memory`](crate::Memory) and [`Redis`](crate::Redis) implement it. A backend of your own can start as a wrapper:
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use std::time::Duration;
/// use locker_host::{Cache, CacheError, Delete, Entry, Extend, Locker, Memory, Set};
///
/// #[derive(Default)]
/// struct Counting { inner: Memory, writes: AtomicU64 }
///
/// #[async_trait::async_trait]
/// impl Cache for Counting {
///     async fn set_if_absent(&self, key: &str, value: &str, ttl: Option<Duration>) -> Result<Set, CacheError> {
///         self.writes.fetch_add(1, Ordering::Relaxed);
///         self.inner.set_if_absent(key, value, ttl).await
///     }
///     async fn extend_if_equal(&self, key: &str, value: &str, ttl: Duration) -> Result<Extend, CacheError> {
///         self.inner.extend_if_equal(key, value, ttl).await
///     }
///     async fn delete_if_equal(&self, key: &str, value: &str) -> Result<Delete, CacheError> {
///         self.inner.delete_if_equal(key, value).await
///     }
///     async fn get(&self, key: &str) -> Result<Option<Entry>, CacheError> {
///         self.inner.get(key).await
///     }
///     async fn wait_until_absent(&self, key: &str, timeout: Duration) -> Result<(), CacheError> {
///         self.inner.wait_until_absent(key, timeout).await
///     }
/// }
///
/// let locker = Locker::new(Counting::default()).unwrap();
/// ```
#[async_trait]
pub trait Cache: Send + Sync + 'static {
    /// Stores `value` under `key` for `ttl`, or for the store's default, unless another value lies there. The same
    /// value already there counts as stored and keeps its revision and time to live.
    ///
    /// # Errors
    /// [`CacheError`]; only after `Unavailable` may the value have been stored.
    async fn set_if_absent(&self, key: &str, value: &str, ttl: Option<Duration>) -> Result<Set, CacheError>;

    /// Replaces the time to live of `key`, to a longer or a shorter one, if exactly `value` lies there.
    ///
    /// # Errors
    /// [`CacheError`]; only after `Unavailable` may the time have been replaced.
    async fn extend_if_equal(&self, key: &str, value: &str, ttl: Duration) -> Result<Extend, CacheError>;

    /// Deletes `key` if exactly `value` lies there.
    ///
    /// # Errors
    /// [`CacheError`]; only after `Unavailable` may the key have been deleted.
    async fn delete_if_equal(&self, key: &str, value: &str) -> Result<Delete, CacheError>;

    /// Reads what lies under `key`.
    ///
    /// # Errors
    /// [`CacheError`].
    async fn get(&self, key: &str) -> Result<Option<Entry>, CacheError>;

    /// Returns as soon as `key` is deleted or expires, or `timeout` has passed. It may return earlier for no reason,
    /// but must not do so all the time. A wake-up that got lost may cost the time to live that the key had left.
    ///
    /// # Errors
    /// [`CacheError`].
    async fn wait_until_absent(&self, key: &str, timeout: Duration) -> Result<(), CacheError>;

    /// Waits like [`Cache::wait_until_absent`], on behalf of a caller whose [`Cache::set_if_absent`] with the same arguments was
    /// just refused and who will come again. A store in which whoever deletes a key can store the next one's value at once
    /// may do so, and answers that here. Else it answers nothing, and only then is asked once more.
    ///
    /// From the first call on and until [`Cache::leave`], the value may lie under the key.
    ///
    /// # Errors
    /// [`CacheError`].
    async fn wait_to_set(
        &self,
        key: &str,
        value: &str,
        ttl: Option<Duration>,
        timeout: Duration,
    ) -> Result<Option<Stored>, CacheError> {
        _ = (value, ttl);
        self.wait_until_absent(key, timeout).await.map(|()| None)
    }

    /// Stores the value of a [`Cache::wait_to_set`] that was dropped or failed no more. It may have been stored by then.
    ///
    /// # Errors
    /// [`CacheError`].
    async fn leave(&self, key: &str, value: &str) -> Result<(), CacheError> {
        _ = (key, value);
        Ok(())
    }

    /// Makes the revision of `key` at least `revision` if exactly `value` lies there, and tells whether it does. Only a
    /// member of a [`Quorum`](crate::Quorum) is ever asked to.
    ///
    /// # Errors
    /// [`CacheError`]; `Denied` from a store that does not implement this.
    async fn raise(&self, key: &str, value: &str, revision: u64) -> Result<bool, CacheError> {
        _ = (key, value, revision);
        Err(CacheError::new(ErrorKind::Denied, "this cache cannot be a member of a quorum"))
    }

    /// All keys, in any order: what [`Locker::list`](crate::Locker::list) is made of. Keys that come or go meanwhile may
    /// be among them or not.
    ///
    /// # Errors
    /// [`CacheError`]; `Denied` from a store that does not implement this.
    async fn keys(&self) -> Result<Vec<String>, CacheError> {
        Err(CacheError::new(ErrorKind::Denied, "this cache does not list its keys"))
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
