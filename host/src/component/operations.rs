//! The functions of the component, each within the limits of a call.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

use crate::component::bindings::exports::locker::locker::locker as wit;
use crate::component::context::{CallContext, LockerState, Orphan, REVOKE};
use crate::component::sandbox::{Instance, Sandbox};
use crate::error::Error;
use crate::random::Random;
use crate::store::{Cache, ErrorKind};
use crate::time::{Term, millis_ceil, now};
use crate::{ExtendOutcome, Holder, Lease, Limits, LockOptions, Token, UnlockOutcome, telemetry};

/// The functions of the component, and what all calls share. Clones are the same.
#[derive(Clone)]
pub(crate) struct Operations(Arc<Inner>);

struct Inner {
    sandbox: Sandbox,
    state: Arc<LockerState>,
    deadline: Duration,
}

/// A lease, with the whole time to live that the cache gave it.
pub(crate) struct Grant {
    pub(crate) lease: Lease,
    pub(crate) term: Term,
}

/// The answers of one attempt.
pub(crate) enum Attempt {
    Granted(Grant),
    Held(Holder),
    /// It was granted with this fence, but its time was over when the answer arrived. It is being released.
    Late(u64),
}

/// Longer inputs are rejected before they reach the component, which does the exact checks.
const MAX_INPUT: usize = 64 << 10;

impl Operations {
    pub(crate) fn new(cache: Arc<dyn Cache>, limits: Limits, random: Random) -> Result<Self, Error> {
        let state = Arc::new(LockerState::new(cache, limits.max_ttl, random));
        let sandbox = Sandbox::new(state.clone(), limits)?;
        Ok(Self(Arc::new(Inner { sandbox, state, deadline: limits.deadline })))
    }

    /// The same functions over another cache, which closes with this one.
    pub(crate) fn over(&self, cache: Arc<dyn Cache>) -> Self {
        let Inner { sandbox, state, deadline } = &*self.0;
        let state = Arc::new(state.over(cache));
        Self(Arc::new(Inner { sandbox: sandbox.with_state(state.clone()), state, deadline: *deadline }))
    }

    /// The context of a caller that uses the cache itself.
    pub(crate) fn context(&self) -> CallContext {
        CallContext::new(self.0.state.clone())
    }

    pub(crate) fn cache(&self) -> &Arc<dyn Cache> {
        &self.0.state.cache
    }

    pub(crate) fn random(&self) -> &Random {
        &self.0.state.random
    }

    /// Makes one attempt, which may include a wait.
    pub(crate) async fn attempt(&self, name: &str, options: LockOptions) -> Result<Attempt, Error> {
        let LockOptions { ttl, wait, owner, token, .. } = options;
        let token = token.map(|token| token.as_str().to_owned());
        let options = wit::Options { ttl_ms: ttl.map(millis_ceil), wait_ms: Some(millis_ceil(wait)), owner, token };
        let longer = options.owner.iter().chain(&options.token).max_by_key(|text| text.len());
        let mut call = self.call("lock", name, longer.map(String::as_str)).await?;
        if options.token.is_some() {
            call.store.data_mut().call.set_chose_value();
        }
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

    pub(crate) async fn unlock(&self, name: &str, token: impl AsRef<str>) -> Result<UnlockOutcome, Error> {
        let mut call = self.call("unlock", name, Some(token.as_ref())).await?;
        let Instance { store, exports } = &mut call;
        let unlocked = exports.locker_locker_locker().call_unlock(store, name, token.as_ref());
        let answer = self.within(Duration::ZERO, unlocked).await;
        self.end(call, name, answer, Into::into)
    }

    pub(crate) async fn complete(
        &self,
        name: &str,
        token: impl AsRef<str>,
        ttl: Duration,
    ) -> Result<UnlockOutcome, Error> {
        let mut call = self.call("complete", name, Some(token.as_ref())).await?;
        let Instance { store, exports } = &mut call;
        let completed = exports.locker_locker_locker().call_complete(store, name, token.as_ref(), millis_ceil(ttl));
        let answer = self.within(Duration::ZERO, completed).await;
        self.end(call, name, answer, Into::into)
    }

    /// Takes the lock from its holder, and tells that.
    pub(crate) async fn revoke(&self, name: &str, fence: u64) -> Result<UnlockOutcome, Error> {
        let outcome = self.delete_revoked(name, fence).await?;
        if outcome == UnlockOutcome::Released {
            telemetry::revoked(name, fence);
            // If this fails, the holder learns of it when it renews the lock.
            _ = timeout(self.0.deadline, self.cache().announce_revocation(name, fence)).await;
        }
        Ok(outcome)
    }

    async fn delete_revoked(&self, name: &str, fence: u64) -> Result<UnlockOutcome, Error> {
        let mut call = self.call(REVOKE, name, None).await?;
        let Instance { store, exports } = &mut call;
        let revoked = exports.locker_locker_locker().call_revoke(store, name, fence);
        let answer = self.within(Duration::ZERO, revoked).await;
        self.end(call, name, answer, Into::into)
    }

    pub(crate) async fn extend(
        &self,
        name: &str,
        token: impl AsRef<str>,
        ttl: Duration,
    ) -> Result<ExtendOutcome, Error> {
        let mut call = self.call("extend", name, Some(token.as_ref())).await?;
        let Instance { store, exports } = &mut call;
        let extended = exports.locker_locker_locker().call_extend(store, name, token.as_ref(), millis_ceil(ttl));
        let answer = self.within(Duration::ZERO, extended).await;
        let term = call.store.data().call.term();
        self.end(call, name, answer, |outcome| match outcome {
            wit::ExtendOutcome::Extended(lease) => ExtendOutcome::Extended(Grant::new(lease, term).lease),
            wit::ExtendOutcome::Absent => ExtendOutcome::Absent,
            wit::ExtendOutcome::HeldByOther => ExtendOutcome::HeldByOther,
        })
    }

    /// How long an operation may take besides its wait.
    pub(crate) fn limit(&self) -> Duration {
        self.0.deadline
    }

    pub(crate) async fn inspect(&self, name: &str) -> Result<Option<Holder>, Error> {
        let mut call = self.call("inspect", name, None).await?;
        let Instance { store, exports } = &mut call;
        let inspected = exports.locker_locker_locker().call_inspect(store, name);
        let answer = self.within(Duration::ZERO, inspected).await;
        self.end(call, name, answer, |holder| holder.map(Into::into))
    }

    /// Ends the calls that are under way, and returns when everything that they may have taken is withdrawn, or the deadline has passed.
    pub(crate) async fn close(&self) {
        let Inner { state, deadline, .. } = &*self.0;
        state.closed.cancel();
        state.tasks.close();
        _ = timeout(*deadline, async {
            state.tasks.wait().await;
            state.cache.close().await;
        })
        .await;
    }

    /// Resolves when [`Operations::close`] is called.
    pub(crate) async fn closed(&self) {
        self.0.state.closed.cancelled().await;
    }

    /// The tasks in the background until then.
    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.0.state.tasks
    }

    /// A lock that is released in the background, unless it is disarmed before it is dropped.
    pub(crate) fn orphan(&self, name: &str, token: &Token, ttl: Duration) -> Orphan {
        Orphan::new(self.0.state.clone(), name.to_owned(), token.as_str().to_owned(), ttl)
    }

    /// Releases a lock in the background, until it would have expired at `gone`.
    pub(crate) fn withdraw(&self, name: &str, token: &Token, gone: Instant, runtime: &Handle) {
        let ttl = gone.saturating_duration_since(now());
        self.0.state.withdraw(name.to_owned(), token.as_str().to_owned(), ttl, runtime);
    }

    /// An instance for a call with this name, and with another text if it has one.
    async fn call(&self, operation: &'static str, name: &str, text: Option<&str>) -> Result<Instance, Error> {
        let instance = if name.len().max(text.map_or(0, str::len)) > MAX_INPUT {
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
        let (deadline, closed) = (self.0.deadline, &self.0.state.closed);
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
}

impl Grant {
    fn new(lease: wit::Lease, term: Option<Term>) -> Self {
        let ttl = Duration::from_millis(lease.ttl_ms);
        let term = term.unwrap_or_else(|| Term { deadline: now(), ttl });
        Self {
            lease: Lease { token: Token::from(lease.token), fence: lease.fence, ttl, deadline: term.deadline },
            term,
        }
    }
}

fn failed(operation: &'static str, name: &str, error: Error) -> Error {
    let error = error.about(name);
    // A grant that came too late is no failure yet: the call may still have time to wait again.
    if error.kind() != ErrorKind::Expired || operation != "lock" {
        telemetry::failed(operation, &error);
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
        let wit::Holder { owner, fence, ttl_ms, done_ms } = holder;
        Self { owner, fence, ttl: ttl_ms.map(Duration::from_millis), done: done_ms.map(Duration::from_millis) }
    }
}

impl From<wit::UnlockOutcome> for UnlockOutcome {
    fn from(outcome: wit::UnlockOutcome) -> Self {
        match outcome {
            wit::UnlockOutcome::Released => Self::Released,
            wit::UnlockOutcome::Absent => Self::Absent,
            wit::UnlockOutcome::HeldByOther => Self::HeldByOther,
        }
    }
}
