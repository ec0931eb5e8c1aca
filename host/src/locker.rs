//! What callers use.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::bindings::exports::locker::locker::locker as wit;
use crate::call::{Shared, whole_millis};
use crate::error::{Error, ErrorKind};
use crate::queue::{Queues, Turn};
use crate::sandbox::{Instance, Sandbox};
use crate::{Cache, Extended, Holder, Lease, Lock, Token, Unlock};

/// Takes, releases and extends locks.
///
/// Cheap to clone; all clones share one cache, and callers that wait for the same lock through any of them are served
/// in order of arrival. Any call may be dropped at any time: a lock that it took is given back in the background.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), locker_host::Error> {
/// use std::time::Duration;
/// use locker_host::{Locker, Memory, Unlock};
///
/// let locker = Locker::new(Memory::default())?;
/// let lease = locker.lock("job", Duration::from_secs(30)).await?.lease().expect("nobody else is here");
/// assert_eq!(locker.unlock("job", &lease.token).await?, Unlock::Released);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Locker(Arc<Inner>);

struct Inner {
    sandbox: Sandbox,
    shared: Arc<Shared>,
    deadline: Duration,
}

/// What a [`Locker`] allows.
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
    /// default: long enough for a failover to be seen, short enough to be told of it.
    pub deadline: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_ttl: Duration::from_secs(24 * 60 * 60), deadline: Duration::from_secs(10) }
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
    ttl: Option<Duration>,
    wait: Duration,
    owner: Option<String>,
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

    /// A label that tells others who holds the lock: 1 to 128 bytes without control characters.
    #[must_use]
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.owner = Some(owner.into());
        self
    }
}

impl From<Duration> for LockOptions {
    fn from(ttl: Duration) -> Self {
        Self::default().ttl(ttl)
    }
}

impl Locker {
    /// A locker over `cache`. This compiles the component, which takes some ten milliseconds: make one and clone it.
    ///
    /// # Errors
    /// [`ErrorKind::Fault`] if the component cannot be loaded.
    pub fn new(cache: impl Cache) -> Result<Self, Error> {
        Self::with_limits(cache, Limits::default())
    }

    /// A locker over `cache` that allows what `limits` say.
    ///
    /// # Errors
    /// [`ErrorKind::Fault`] if the component cannot be loaded.
    pub fn with_limits(cache: impl Cache, limits: Limits) -> Result<Self, Error> {
        let shared = Arc::new(Shared {
            cache: Arc::new(cache),
            queues: Queues::default(),
            max_ttl: limits.max_ttl,
            closed: CancellationToken::new(),
            returns: TaskTracker::new(),
        });
        let sandbox = Sandbox::new(shared.clone())?;
        Ok(Self(Arc::new(Inner { sandbox, shared, deadline: limits.deadline })))
    }

    /// Takes the lock `name` if it is free, or waits for it as long as `options` say.
    ///
    /// A name is 1 to 512 bytes without control characters, compared byte for byte. The lock is not reentrant: whoever
    /// holds it is refused too.
    ///
    /// # Errors
    /// [`ErrorKind`]; that somebody else holds the lock is an answer, not an error.
    pub async fn lock(&self, name: &str, options: impl Into<LockOptions>) -> Result<Lock, Error> {
        let LockOptions { ttl, wait, owner } = options.into();
        let (turn, wait) = self.line_up(name, wait).await;
        let options = wit::Options { ttl_ms: ttl.map(whole_millis), wait_ms: Some(whole_millis(wait)), owner };
        let mut call = self.call(name, turn).await?;
        let Instance { store, exports } = &mut call;
        let locked = exports.locker_locker_locker().call_lock(store, name, &options);
        let answer = self.within(name, wait, locked).await;
        let asked = call.store.data().call.asked();
        self.end(name, call, answer, |outcome| match outcome {
            wit::LockOutcome::Granted(lease) => Lock::Granted(Lease::new(lease, asked)),
            wit::LockOutcome::Held(holder) => Lock::Held(holder.into()),
        })
    }

    /// Releases the lock `name` if `token` holds it.
    ///
    /// # Errors
    /// [`ErrorKind`]; that the token does not hold the lock is an answer, not an error.
    pub async fn unlock(&self, name: &str, token: impl AsRef<str>) -> Result<Unlock, Error> {
        let mut call = self.call(name, None).await?;
        let Instance { store, exports } = &mut call;
        let unlocked = exports.locker_locker_locker().call_unlock(store, name, token.as_ref());
        let answer = self.within(name, Duration::ZERO, unlocked).await;
        self.end(name, call, answer, |outcome| match outcome {
            wit::UnlockOutcome::Released => Unlock::Released,
            wit::UnlockOutcome::Absent => Unlock::Absent,
            wit::UnlockOutcome::HeldByOther => Unlock::HeldByOther,
        })
    }

    /// Gives the lock `name` the time to live `ttl` from now, more or less than it had left, if `token` holds it.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), locker_host::Error> {
    /// # use std::time::Duration;
    /// # use locker_host::{Extended, Locker, Memory};
    /// # let locker = Locker::new(Memory::default())?;
    /// let lease = locker.lock("job", Duration::from_secs(30)).await?.lease().expect("nobody else is here");
    /// let Extended::Extended(longer) = locker.extend("job", &lease.token, Duration::from_secs(90)).await? else {
    ///     panic!("we lost the lock: stop working");
    /// };
    /// assert_eq!(longer.fence, lease.fence);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind`]; that the token does not hold the lock is an answer, not an error.
    pub async fn extend(&self, name: &str, token: impl AsRef<str>, ttl: Duration) -> Result<Extended, Error> {
        let mut call = self.call(name, None).await?;
        let Instance { store, exports } = &mut call;
        let extended = exports.locker_locker_locker().call_extend(store, name, token.as_ref(), whole_millis(ttl));
        let answer = self.within(name, Duration::ZERO, extended).await;
        let asked = call.store.data().call.asked();
        self.end(name, call, answer, |outcome| match outcome {
            wit::ExtendOutcome::Extended(lease) => Extended::Extended(Lease::new(lease, asked)),
            wit::ExtendOutcome::Absent => Extended::Absent,
            wit::ExtendOutcome::HeldByOther => Extended::HeldByOther,
        })
    }

    /// Tells who holds the lock `name`, if anybody does. By the time you read the answer it may have changed.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), locker_host::Error> {
    /// # use locker_host::{LockOptions, Locker, Memory};
    /// # let locker = Locker::new(Memory::default())?;
    /// let _lease = locker.lock("job", LockOptions::default().owner("me")).await?;
    /// let holder = locker.inspect("job").await?.expect("we have just taken it");
    /// assert_eq!(holder.owner.as_deref(), Some("me"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind`].
    pub async fn inspect(&self, name: &str) -> Result<Option<Holder>, Error> {
        let mut call = self.call(name, None).await?;
        let Instance { store, exports } = &mut call;
        let inspected = exports.locker_locker_locker().call_inspect(store, name);
        let answer = self.within(name, Duration::ZERO, inspected).await;
        self.end(name, call, answer, |holder| holder.map(Into::into))
    }

    /// Ends the calls that are still under way, in all clones, with [`ErrorKind::Unavailable`], and refuses new ones.
    /// Returns when what they may have taken has been given back, or the [`Limits::deadline`] has passed.
    ///
    /// Locks that were granted stay held until they are released elsewhere or expire.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), locker_host::Error> {
    /// # use locker_host::{LockOptions, Locker, Memory};
    /// let locker = Locker::new(Memory::default())?;
    /// locker.close().await;
    /// assert!(locker.lock("job", LockOptions::default()).await.is_err());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn close(&self) {
        self.0.shared.closed.cancel();
        self.0.shared.returns.close();
        _ = timeout(self.0.deadline, self.0.shared.returns.wait()).await;
    }

    /// Behind others who already wait for the lock, a caller waits for its turn before it makes an attempt, so that it
    /// does not overtake them. Returns what is left of its patience.
    async fn line_up(&self, name: &str, wait: Duration) -> (Option<Turn>, Duration) {
        let queues = &self.0.shared.queues;
        if wait.is_zero() || !queues.is_busy(name) {
            return (None, wait);
        }
        let started = Instant::now();
        let turn = tokio::select! {
            () = self.0.shared.closed.cancelled() => None,
            turn = timeout(wait, queues.turn(name)) => turn.ok(),
        };
        (turn, wait.saturating_sub(started.elapsed()))
    }

    async fn call(&self, name: &str, turn: Option<Turn>) -> Result<Instance, Error> {
        let instance = self.0.sandbox.instance().await;
        let mut instance =
            instance.map_err(|cause| Error::fault("the component cannot be started", cause).about(name))?;
        instance.store.data_mut().call.begin(turn);
        Ok(instance)
    }

    /// The answer of a call, unless it takes too long or the locker is closed.
    async fn within<T>(&self, name: &str, wait: Duration, call: impl Future<Output = T>) -> Result<T, Error> {
        let deadline = self.0.deadline;
        let why = tokio::select! {
            biased;
            () = self.0.shared.closed.cancelled() => "the locker was closed".to_owned(),
            answer = timeout(deadline.saturating_add(wait), call) => match answer {
                Ok(answer) => return Ok(answer),
                Err(_) => format!("the cache did not answer within {deadline:?}; the operation may have taken effect"),
            },
        };
        Err(Error::new(ErrorKind::Unavailable, why).about(name))
    }

    /// Turns the component's answer into the caller's, and keeps the instance if it is as good as new.
    fn end<T, U>(
        &self,
        name: &str,
        mut call: Instance,
        answer: Result<wasmtime::Result<Result<T, wit::Error>>, Error>,
        convert: impl FnOnce(T) -> U,
    ) -> Result<U, Error> {
        let answer = answer?.map_err(|cause| Error::fault("the component was stopped", cause).about(name))?;
        let state = &mut call.store.data_mut().call;
        let failure = state.take_failure();
        state.end(answer.is_ok());
        self.0.sandbox.keep(call);
        answer.map(convert).map_err(|error| {
            let (kind, message) = match error {
                wit::Error::Unavailable(message) => (ErrorKind::Unavailable, message),
                wit::Error::Denied(message) => (ErrorKind::Denied, message),
                wit::Error::Invalid(message) => (ErrorKind::Invalid, message),
            };
            Error::new(kind, message).about(name).caused_by(failure)
        })
    }
}

impl Lease {
    fn new(lease: wit::Lease, asked: Option<Instant>) -> Self {
        let ttl = Duration::from_millis(lease.ttl_ms);
        let asked = asked.unwrap_or_else(Instant::now);
        // A time to live beyond what the clock can show is as good as a year.
        let deadline = asked.checked_add(ttl).unwrap_or(asked + Duration::from_secs(365 * 24 * 60 * 60));
        Self { token: Token::from(lease.token), fence: lease.fence, ttl, deadline }
    }
}

impl From<wit::Holder> for Holder {
    fn from(holder: wit::Holder) -> Self {
        Self { owner: holder.owner, fence: holder.fence, ttl: holder.ttl_ms.map(Duration::from_millis) }
    }
}
