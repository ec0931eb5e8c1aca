//! What a [`Locker`](crate::Locker) allows, and how to lock.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::{Error, Token};

/// What a [`Locker`](crate::Locker) allows its callers, and the component in its sandbox. A call in which the component goes
/// beyond a limit fails with [`ErrorKind::Fault`](crate::ErrorKind::Fault), and its instance is not used again.
///
/// ```
/// use std::time::Duration;
/// use locker_host::{Limits, Locker, Memory};
///
/// let limits = Limits { max_ttl: Duration::from_secs(60), ..Limits::default() };
/// let locker = Locker::with_limits(Memory::default(), limits).unwrap();
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The longest time to live that a caller may ask for. 24 hours by default.
    pub max_ttl: Duration,
    /// How long an operation may take, besides the time that its caller chose to wait for the lock. 10 seconds by
    /// default: longer than a failover takes, and short enough for a caller to wait.
    pub deadline: Duration,
    /// The memory of one instance of the component, in bytes. 4 MiB by default: it needs a little over 1 MiB, most of it stack
    /// that is never touched.
    pub memory: usize,
    /// How many instructions of WebAssembly one call may take, more or less. 1,000,000,000 by default: a lock takes a few
    /// thousand, however long it waits, and a component that loops is stopped after a second or two.
    pub fuel: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_ttl: Duration::from_secs(24 * 60 * 60),
            deadline: Duration::from_secs(10),
            memory: 4 << 20,
            fuel: 1_000_000_000,
        }
    }
}

/// How to lock. The default is one attempt without a label, for the cache's default time to live.
///
/// Anything that asks for such options also takes a bare `Duration` as the time to live.
///
/// ```
/// use std::time::Duration;
/// use locker_host::LockOptions;
///
/// let options = LockOptions::default().ttl(Duration::from_secs(30)).wait(Duration::from_secs(10)).owner("backup@db1");
/// ```
#[derive(Clone, Debug, Default)]
pub struct LockOptions {
    pub(crate) ttl: Option<Duration>,
    pub(crate) wait: Duration,
    pub(crate) owner: Option<String>,
    pub(crate) token: Option<Token>,
    pub(crate) max_hold: Option<Duration>,
    pub(crate) expiry_margin: Option<Duration>,
    pub(crate) on_outage: Option<OnOutage>,
}

/// What is called once for each outage.
#[derive(Clone)]
pub(crate) struct OnOutage(pub(crate) Arc<dyn Fn(&Error) + Send + Sync>);

impl fmt::Debug for OnOutage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnOutage")
    }
}

impl LockOptions {
    /// How long the lock is held if it is neither released nor extended: at least 1 ms; fractions of it are rounded up.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// How long to wait for a lock that is held. Zero, the default, makes a single attempt.
    #[must_use]
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// A label of the holder, which other callers can read: 1 to 128 bytes without control characters.
    #[must_use]
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.owner = Some(owner.into());
        self
    }

    /// The token to hold the lock with, instead of a new one: for a caller that lost the answer, or another process that goes on with the
    /// work. If the token holds the lock, the answer is the lease that it has; if the lock is free, a new one with a new fence. One process
    /// at a time may use a token.
    ///
    /// It has the form of the tokens that `lock` returns: 32 hexadecimal digits in lower case, after the owner's label and a colon if there is a
    /// label. Choose the digits at random: a caller that guesses them can release the lock. The lock is not withdrawn if the call fails or
    /// is dropped, unless it waits or must be confirmed by replicas: call again. A wait that fails, or is granted the lock too late for its
    /// time to live, is withdrawn. The store may refuse the token for up to six seconds then (a second more than the timeout of Redis), with an error of the kind
    /// [`Unavailable`](crate::ErrorKind::Unavailable) that says so: call again after that, or choose another token.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), locker_host::Error> {
    /// # use locker_host::{LockOptions, Locker, Memory, Token};
    /// # let locker = Locker::new(Memory::default())?;
    /// let token = Token::from("5f3a9c1e7b2d4806f1e2d3c4b5a69788".to_owned());
    /// let lease = locker.lock("job", LockOptions::default().token(token.clone())).await?.granted().expect("the lock is free");
    /// let again = locker.lock("job", LockOptions::default().token(token)).await?.granted().expect("the token holds it");
    /// assert_eq!(again.fence, lease.fence);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn token(mut self, token: Token) -> Self {
        self.token = Some(token);
        self
    }

    /// How long [`Locker::hold`](crate::Locker::hold) holds the lock at most, counted from its grant. By default there
    /// is no limit. The time that work needs to stop, the [expiry margin](Self::expiry_margin), comes on top of it. A lock that is not held, but only taken, lasts for its time to live.
    #[must_use]
    pub fn max_hold(mut self, max_hold: Duration) -> Self {
        self.max_hold = Some(max_hold);
        self
    }

    /// How long before its end a lock that [`Locker::hold`](crate::Locker::hold) cannot renew counts as lost: the time
    /// that work needs to stop. At most half the time to live; a twentieth of it, but no more than 100 ms, if this is
    /// not said.
    #[must_use]
    pub fn expiry_margin(mut self, margin: Duration) -> Self {
        self.expiry_margin = Some(margin);
        self
    }

    /// Goes on waiting while the cache is unavailable: also if it is away at the start, during a restart or a failover. `on_outage` is
    /// called with the error once for each outage, and must not block. A wait that ends during an outage fails with that error; a refusal
    /// ([`ErrorKind::Denied`](crate::ErrorKind::Denied), [`ErrorKind::Invalid`](crate::ErrorKind::Invalid)) ends the wait at once. Without a
    /// [wait](Self::wait), this has no effect. With a [token](Self::token) of the caller's, an outage ends the wait if it has begun in the queue.
    ///
    /// ```
    /// use std::time::Duration;
    /// use locker_host::LockOptions;
    ///
    /// let options = LockOptions::default().wait(Duration::from_secs(3600)).through_outages(|error| eprintln!("{error}; still waiting"));
    /// ```
    #[must_use]
    pub fn through_outages(mut self, on_outage: impl Fn(&Error) + Send + Sync + 'static) -> Self {
        self.on_outage = Some(OnOutage(Arc::new(on_outage)));
        self
    }
}

impl From<Duration> for LockOptions {
    fn from(ttl: Duration) -> Self {
        Self::default().ttl(ttl)
    }
}
