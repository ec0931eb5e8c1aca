//! What a [`Locker`](crate::Locker) answers.

use std::fmt;
use std::time::{Duration, Instant};

/// The secret that releases and extends a lock. Keep it out of logs: `Debug` does not show it.
///
/// ```
/// use locker_host::Token;
///
/// let token = Token::from("0123456789abcdef0123456789abcdef".to_owned());
/// assert_eq!(token.as_str().len(), 32);
/// assert_eq!(format!("{token:?}"), "Token(..)");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// The token as text, to release the lock elsewhere.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for Token {
    fn from(token: String) -> Self {
        Self(token)
    }
}

impl AsRef<str> for Token {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// A lock that the caller holds for a limited time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Releases and extends the lock, in this process or any other.
    pub token: Token,
    /// Larger for every later grant of the same name. Send it along with every write to what the lock protects, and
    /// let the receiver refuse a fence lower than the highest it has seen.
    pub fence: u64,
    /// The time that was left when the answer came, counted from before the request was sent to the cache.
    pub ttl: Duration,
    /// When that time is up, by this process's monotonic clock: never later than the cache lets others in.
    pub deadline: Instant,
}

/// Who holds a lock, or has completed the work under it, as far as others may know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The label given when the lock was taken, if any.
    pub owner: Option<String>,
    /// The fence of the holder's lease; 0 if the lock was not taken through Locker.
    pub fence: u64,
    /// The time left before the lock expires; none if it never does, as a foreign value may.
    pub ttl: Option<Duration>,
    /// The time since the holder completed its work, if it did: then no caller holds the lock, and it is taken until it expires.
    pub done: Option<Duration>,
}

/// The answers of [`Locker::lock`](crate::Locker::lock) and [`Locker::hold`](crate::Locker::hold).
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a lock may be held by another"]
pub enum LockOutcome<T = Lease> {
    /// The caller now holds the lock.
    Granted(T),
    /// Another caller holds it, or has completed its work, and the lock stayed taken for as long as this one would wait.
    Held(Holder),
}

impl<T> LockOutcome<T> {
    /// What was granted, if the lock was.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), locker_host::Error> {
    /// # use locker_host::{LockOptions, Locker, Memory};
    /// let locker = Locker::new(Memory::default())?;
    /// let lock = locker.lock("job", LockOptions::default()).await?;
    /// assert!(lock.granted().is_some());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn granted(self) -> Option<T> {
        match self {
            Self::Granted(granted) => Some(granted),
            Self::Held(_) => None,
        }
    }
}

/// The answers of [`Locker::unlock`](crate::Locker::unlock), [`Locker::complete`](crate::Locker::complete) and
/// [`Locker::revoke`](crate::Locker::revoke).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnlockOutcome {
    /// The lock was the holder's and no longer is. The next waiter may already hold it.
    Released,
    /// The lock is not held: it was released before, has expired, or was never taken.
    Absent,
    /// Another token holds the lock, which was left alone.
    HeldByOther,
}

/// The answers of [`Locker::extend`](crate::Locker::extend).
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a lock that was not extended is no longer held"]
pub enum ExtendOutcome {
    /// The caller holds the lock for the new time, with the same token and fence.
    Extended(Lease),
    /// The lock is not held, and was not taken.
    Absent,
    /// Another token holds the lock, which was left alone.
    HeldByOther,
}
