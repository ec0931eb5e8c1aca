//! What callers use.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

use crate::bindings::exports::locker::locker::locker as wit;
use crate::call::{Call, Orphan, Shared, whole_millis};
use crate::error::{Error, ErrorKind};
use crate::grant::{Attempt, Grant};
use crate::sandbox::{Instance, Sandbox};
use crate::scoped::Scoped;
use crate::term::least_left;
use crate::{Cache, Extended, Holder, Limits, Lock, LockOptions, Token, Unlock, events};

/// Takes, releases and extends locks.
///
/// Cheap to clone; all clones share one cache. Callers that wait for a lock are in the queue of the cache, which serves them first
/// come, first served if [`Cache::is_fifo`] says so. Any call may be dropped at any time: a lock that it took, or waits for, is
/// withdrawn in the background.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), locker_host::Error> {
/// use std::time::Duration;
/// use locker_host::{Locker, Memory, Unlock};
///
/// let locker = Locker::new(Memory::default())?;
/// let lease = locker.lock("job", Duration::from_secs(30)).await?.granted().expect("nobody else is here");
/// assert_eq!(locker.unlock("job", &lease.token).await?, Unlock::Released);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Locker(Arc<Inner>);

/// What is longer than this in bytes is no argument, and is kept out of the component's small memory. It says what is right.
const LONGEST: usize = 64 << 10;

struct Inner {
    sandbox: Sandbox,
    shared: Arc<Shared>,
    deadline: Duration,
}

impl Locker {
    /// A locker over `cache`. The first one in a process compiles the component, which takes some ten milliseconds, or finds it
    /// where `keep_code_in` said.
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
        let shared = Arc::new(Shared::new(Arc::new(cache), limits.max_ttl));
        let sandbox = Sandbox::new(shared.clone(), limits)?;
        Ok(Self(Arc::new(Inner { sandbox, shared, deadline: limits.deadline })))
    }

    /// Takes the lock `name` if it is free, or waits for it as long as `options` say.
    ///
    /// A name is 1 to 512 bytes without control characters, compared byte for byte. The lock is not reentrant: whoever
    /// holds it is refused too.
    /// A lease that is over when the answer arrives does not count: it is released, and the call waits again if it still has
    /// time.
    ///
    ///
    /// # Errors
    /// [`ErrorKind`]; that somebody else holds the lock is an answer, not an error.
    pub async fn lock(&self, name: &str, options: impl Into<LockOptions>) -> Result<Lock, Error> {
        self.grant(name, options.into(), least_left).await.map(|lock| match lock {
            Lock::Granted(grant) => Lock::Granted(grant.lease),
            Lock::Held(holder) => Lock::Held(holder),
        })
    }

    /// Makes one attempt, which may include a wait.
    pub(crate) async fn attempt(&self, name: &str, options: LockOptions) -> Result<Attempt, Error> {
        let LockOptions { ttl, wait, owner, .. } = options;
        let options = wit::Options { ttl_ms: ttl.map(whole_millis), wait_ms: Some(whole_millis(wait)), owner };
        let mut call = self.call("lock", name, options.owner.as_deref()).await?;
        let Instance { store, exports } = &mut call;
        let locked = exports.locker_locker_locker().call_lock(store, name, &options);
        let answer = self.within(wait, locked).await;
        let (term, late) = (call.store.data().call.term(), call.store.data().call.late());
        let attempt = self.end(call, name, answer, |outcome| match outcome {
            wit::LockOutcome::Granted(lease) => Attempt::Granted(Grant::new(lease, term)),
            wit::LockOutcome::Held(holder) => Attempt::Held(holder.into()),
        });
        match (attempt, late) {
            (Err(error), Some(fence)) if error.kind() == ErrorKind::Expired => Ok(Attempt::Late(fence)),
            (attempt, _) => attempt,
        }
    }

    /// Releases the lock `name` if `token` holds it.
    ///
    /// # Errors
    /// [`ErrorKind`]; that the token does not hold the lock is an answer, not an error.
    pub async fn unlock(&self, name: &str, token: impl AsRef<str>) -> Result<Unlock, Error> {
        let mut call = self.call("unlock", name, Some(token.as_ref())).await?;
        let Instance { store, exports } = &mut call;
        let unlocked = exports.locker_locker_locker().call_unlock(store, name, token.as_ref());
        let answer = self.within(Duration::ZERO, unlocked).await;
        self.end(call, name, answer, |outcome| match outcome {
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
    /// let lease = locker.lock("job", Duration::from_secs(30)).await?.granted().expect("nobody else is here");
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
        let mut call = self.call("extend", name, Some(token.as_ref())).await?;
        let Instance { store, exports } = &mut call;
        let extended = exports.locker_locker_locker().call_extend(store, name, token.as_ref(), whole_millis(ttl));
        let answer = self.within(Duration::ZERO, extended).await;
        let term = call.store.data().call.term();
        self.end(call, name, answer, |outcome| match outcome {
            wit::ExtendOutcome::Extended(lease) => Extended::Extended(Grant::new(lease, term).lease),
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
        let mut call = self.call("inspect", name, None).await?;
        let Instance { store, exports } = &mut call;
        let inspected = exports.locker_locker_locker().call_inspect(store, name);
        let answer = self.within(Duration::ZERO, inspected).await;
        self.end(call, name, answer, |holder| holder.map(Into::into))
    }

    /// Ends the calls that are still under way, in all clones, with [`ErrorKind::Unavailable`], and refuses new ones.
    /// Returns when everything that they may have taken is withdrawn, or the [`Limits::deadline`] has passed.
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
        self.0.shared.tasks.close();
        _ = timeout(self.0.deadline, async {
            self.0.shared.tasks.wait().await;
            self.0.shared.cache.close().await;
        })
        .await;
    }

    /// An instance for a call with this name, and with another text if it has one.
    async fn call(&self, operation: &'static str, name: &str, text: Option<&str>) -> Result<Instance, Error> {
        let instance = if name.len().max(text.map_or(0, str::len)) > LONGEST {
            Err(Error::new(ErrorKind::Invalid, "a lock's name, a token or an owner label is at most 512 bytes"))
        } else {
            let instance = self.0.sandbox.instance().await;
            instance.map_err(|cause| Error::fault("the component cannot be started", cause))
        };
        let mut instance = instance.map_err(|error| failed(operation, name, error))?;
        instance.store.data_mut().call.begin(operation);
        Ok(instance)
    }

    /// The answer of a call, unless it takes too long or the locker is closed.
    async fn within<T>(&self, wait: Duration, call: impl Future<Output = T>) -> Result<T, Error> {
        let (deadline, closed) = (self.0.deadline, &self.0.shared.closed);
        // In this order a call is resumed only once for each time that there is news.
        let why = tokio::select! {
            biased;
            answer = call, if !closed.is_cancelled() => return Ok(answer),
            () = closed.cancelled() => "the locker was closed".to_owned(),
            // Memory answers at once: then no clock is set.
            () = async { sleep(deadline.saturating_add(wait)).await } => {
                format!("the cache did not answer within {deadline:?}; the operation may have taken effect")
            }
        };
        Err(Error::new(ErrorKind::Unavailable, why))
    }

    /// Turns the component's answer into the caller's, and keeps the instance if it is as good as new.
    fn end<T, U>(
        &self,
        mut call: Instance,
        name: &str,
        answer: Result<wasmtime::Result<Result<T, wit::Error>>, Error>,
        convert: impl FnOnce(T) -> U,
    ) -> Result<U, Error> {
        let state = &mut call.store.data_mut().call;
        let (operation, failure) = (state.operation(), state.take_failure());
        let answer = match answer {
            Ok(Ok(answer)) => {
                state.end(answer.is_ok());
                self.0.sandbox.keep(call);
                answer.map(convert).map_err(|error| Error::from(error).caused_by(failure))
            }
            Ok(Err(cause)) => Err(Error::fault("the component was stopped", cause)),
            Err(error) => Err(error),
        };
        answer.map_err(|error| failed(operation, name, error))
    }

    /// The same locker within a scope.
    pub(crate) fn scoped(&self, scoped: Arc<Scoped>) -> (Self, Call) {
        let Inner { sandbox, shared, deadline } = &*self.0;
        let shared = Arc::new(shared.scoped(scoped));
        let locker = Self(Arc::new(Inner {
            sandbox: sandbox.apart(shared.clone()),
            shared: shared.clone(),
            deadline: *deadline,
        }));
        (locker, Call::new(shared))
    }

    pub(crate) fn cache(&self) -> Arc<dyn Cache> {
        self.0.shared.cache.clone()
    }

    /// Resolves when the locker is closed.
    pub(crate) async fn closed(&self) {
        self.0.shared.closed.cancelled().await;
    }

    /// What goes on in the background until the locker is closed.
    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.0.shared.tasks
    }

    /// A lock that is released in the background, unless it is disarmed before it is dropped.
    pub(crate) fn orphan(&self, name: &str, token: &Token, ttl: Duration) -> Orphan {
        Orphan::new(self.0.shared.clone(), name.to_owned(), token.as_str().to_owned(), ttl)
    }

    /// Releases a lock in the background, until it would have expired at `gone`.
    pub(crate) fn give_back(&self, name: &str, token: &Token, gone: Instant, runtime: &Handle) {
        let ttl = gone.saturating_duration_since(Instant::now());
        self.0.shared.withdraw(name.to_owned(), token.as_str().to_owned(), ttl, runtime);
    }
}

fn failed(operation: &'static str, name: &str, error: Error) -> Error {
    let error = error.about(name);
    // A grant that came too late is no failure yet: the call may still have time to wait again.
    if error.kind() != ErrorKind::Expired || operation != "lock" {
        events::failed(operation, &error);
    }
    error
}

impl From<wit::Error> for Error {
    fn from(error: wit::Error) -> Self {
        match error {
            wit::Error::Unavailable(message) => Self::new(ErrorKind::Unavailable, message),
            wit::Error::Denied(message) => Self::new(ErrorKind::Denied, message),
            wit::Error::Invalid(message) => Self::new(ErrorKind::Invalid, message),
        }
    }
}

impl From<wit::Holder> for Holder {
    fn from(holder: wit::Holder) -> Self {
        Self { owner: holder.owner, fence: holder.fence, ttl: holder.ttl_ms.map(Duration::from_millis) }
    }
}
