//! Holding a lock for as long as work takes.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::renewal::Renewal;
use crate::{Error, Extended, Holder, Lease, Lock, LockOptions, Locker, Token, Unlock, events};

/// A lock that is renewed until it is released or dropped, or until it is lost.
///
/// It is renewed when a third of its time to live has passed, again and again. When that fails until its time is nearly
/// up, or somebody has taken it away, it is lost: [`Guard::lost`] tells so, and [`Guard::cancellation_token`] is
/// cancelled, by this process's clock before anybody else can be granted the lock. Then stop working.
///
/// Dropping it releases the lock in the background; [`Guard::release`] waits for that and tells how it went.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), locker_host::Error> {
/// use std::time::Duration;
/// use locker_host::{Lock, Locker, Memory, Unlock};
///
/// let locker = Locker::new(Memory::default())?;
/// let Lock::Granted(guard) = locker.hold("job", Duration::from_secs(30)).await? else { panic!("nobody else is here") };
/// tokio::select! {
///     loss = guard.lost() => println!("stopped working: {loss}"),
///     () = work(guard.fence()) => println!("done"),
/// }
/// assert_eq!(guard.release().await?, Unlock::Released);
/// # async fn work(fence: u64) {}
/// # Ok(())
/// # }
/// ```
#[must_use = "a guard that is dropped releases its lock"]
pub struct Guard {
    locker: Locker,
    tenure: Arc<Tenure>,
    renewal: JoinHandle<()>,
    runtime: Handle,
    /// The time to live: the lock may be there for so long after the guard is gone, if it cannot be released.
    ttl: Duration,
    released: bool,
}

/// What a guard and its renewal know of the lock.
pub(crate) struct Tenure {
    pub(crate) name: String,
    pub(crate) since: Instant,
    /// Cancelled when the lock is lost or released.
    pub(crate) over: CancellationToken,
    state: watch::Sender<State>,
}

struct State {
    lease: Lease,
    loss: Option<Loss>,
}

/// Why a lock that was held is no longer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Loss {
    /// The cache has it no more: it was released by somebody who had the token, deleted, or forgotten by the server.
    Absent,
    /// Another token holds it.
    HeldByOther,
    /// It could not be renewed in time. The last attempt failed with this error; there is none if no attempt was made,
    /// as when this process was paused.
    Expired(Option<Arc<Error>>),
    /// It was held for as long as [`LockOptions::max_hold`] allows.
    MaxHold,
    /// The [`Locker`] was closed.
    Closed,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("it was lost: the cache has it no more"),
            Self::HeldByOther => f.write_str("it was lost: another holds it"),
            Self::Expired(Some(error)) => write!(f, "it could not be renewed in time: {}", error.message()),
            Self::Expired(None) => f.write_str("its time is up, and this process did not come to renew it"),
            Self::MaxHold => f.write_str("it was held for as long as it may be"),
            Self::Closed => f.write_str("the locker was closed"),
        }
    }
}

/// The answers of [`Locker::with`].
#[derive(Clone, Debug)]
#[must_use = "the work may not have been done"]
pub enum Ran<T> {
    /// The work was done while the lock was held.
    Done(T),
    /// Somebody else holds the lock, and kept it for as long as the caller would wait. The work was not begun.
    Held(Holder),
    /// The lock was lost.
    Lost {
        /// Why.
        loss: Loss,
        /// What came of the work, if it was done when the loss was noticed: another may have worked beside it. Else it
        /// was cancelled.
        done: Option<T>,
    },
}

impl Locker {
    /// Takes the lock `name` as [`Locker::lock`] does, and renews it for as long as the guard lives.
    ///
    /// # Errors
    /// [`ErrorKind`](crate::ErrorKind); that somebody else holds the lock is an answer, not an error.
    pub async fn hold(&self, name: &str, options: impl Into<LockOptions>) -> Result<Lock<Guard>, Error> {
        let mut options = options.into();
        let (ttl, max_hold, grace) = (options.ttl, options.max_hold, options.grace);
        options.ttl = ttl.map(|ttl| max_hold.map_or(ttl, |most| ttl.min(most)));
        let lease = match self.lock(name, options).await? {
            Lock::Granted(lease) => lease,
            Lock::Held(holder) => return Ok(Lock::Held(holder)),
        };
        let ttl = ttl.unwrap_or(lease.ttl);
        let since = lease.deadline.checked_sub(lease.ttl).unwrap_or_else(Instant::now);
        let tenure = Arc::new(Tenure {
            name: name.to_owned(),
            since,
            over: CancellationToken::new(),
            state: watch::Sender::new(State { lease, loss: None }),
        });
        let renewal = Renewal::new(self.clone(), tenure.clone(), ttl, max_hold, grace);
        let renewal = self.tasks().spawn(renewal.run());
        let runtime = Handle::current();
        Ok(Lock::Granted(Guard { locker: self.clone(), tenure, renewal, runtime, ttl, released: false }))
    }

    /// Runs `work` while holding the lock `name`, and releases it. If the lock is lost, the work is cancelled: its future
    /// is dropped at the next point where it waits.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), locker_host::Error> {
    /// use std::time::Duration;
    /// use locker_host::{Locker, Memory, Ran};
    ///
    /// let locker = Locker::new(Memory::default())?;
    /// match locker.with("job", Duration::from_secs(30), |lease| async move { lease.fence }).await? {
    ///     Ran::Done(fence) => println!("done with fence {fence}"),
    ///     Ran::Held(holder) => println!("held by {:?}", holder.owner),
    ///     Ran::Lost { loss, .. } => println!("stopped: {loss}"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind`](crate::ErrorKind), from taking the lock. A lock that cannot be released is released in the
    /// background, or expires.
    pub async fn with<T, W>(
        &self,
        name: &str,
        options: impl Into<LockOptions>,
        work: impl FnOnce(Lease) -> W,
    ) -> Result<Ran<T>, Error>
    where
        W: Future<Output = T>,
    {
        let guard = match self.hold(name, options).await? {
            Lock::Granted(guard) => guard,
            Lock::Held(holder) => return Ok(Ran::Held(holder)),
        };
        let done = tokio::select! {
            biased;
            loss = guard.lost() => return Ok(Ran::Lost { loss, done: None }),
            done = work(guard.lease()) => done,
        };
        if !guard.is_held() {
            return Ok(Ran::Lost { loss: guard.lost().await, done: Some(done) });
        }
        Ok(match guard.release().await {
            Ok(Unlock::Absent) => Ran::Lost { loss: Loss::Absent, done: Some(done) },
            Ok(Unlock::HeldByOther) => Ran::Lost { loss: Loss::HeldByOther, done: Some(done) },
            Ok(Unlock::Released) | Err(_) => Ran::Done(done),
        })
    }
}

impl Guard {
    /// The lock's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.tenure.name
    }

    /// The lease as it was last renewed.
    #[must_use]
    pub fn lease(&self) -> Lease {
        self.tenure.state().lease.clone()
    }

    /// Larger for every later grant of the same name. Send it along with every write.
    #[must_use]
    pub fn fence(&self) -> u64 {
        self.tenure.state().lease.fence
    }

    /// Whether the lock is still held, as far as this process's clock can tell. Asking costs nothing, so ask before every
    /// step; but the answer is a moment old when it comes.
    #[must_use]
    pub fn is_held(&self) -> bool {
        let state = self.tenure.state();
        state.loss.is_none() && Instant::now() < state.lease.deadline
    }

    /// Resolves when the lock has been renewed since it had the lease `before`: for those who pass its deadline on.
    pub async fn renewed(&self, before: &Lease) -> Lease {
        let mut state = self.tenure.state.subscribe();
        let renewed = state.wait_for(|state| state.lease.deadline != before.deadline).await;
        // Only a sender that is gone ends the wait, and this one is ours.
        renewed.map_or_else(|_| self.lease(), |state| state.lease.clone())
    }

    /// Resolves when the lock is lost. Never, if it is not.
    pub async fn lost(&self) -> Loss {
        self.tenure.over.cancelled().await;
        // As long as there is a guard to ask, nothing but a loss ends it.
        self.tenure.state().loss.clone().unwrap_or(Loss::Closed)
    }

    /// A token that is cancelled when the lock is lost, released or dropped: for work that goes on elsewhere.
    #[must_use]
    pub fn cancellation_token(&self) -> CancellationToken {
        self.tenure.over.child_token()
    }

    /// Stops renewing the lock, and then releases it.
    ///
    /// # Errors
    /// [`ErrorKind`](crate::ErrorKind). Releasing it is then tried again in the background until it would expire anyway.
    pub async fn release(mut self) -> Result<Unlock, Error> {
        self.stop().await;
        let released = self.locker.unlock(&self.tenure.name, self.tenure.token()).await;
        self.released = released.is_ok();
        released
    }

    /// Stops renewing the lock, and lets it free itself after `time`, whatever time it had left.
    ///
    /// # Errors
    /// [`ErrorKind`](crate::ErrorKind). The lock then frees itself at the end of its time to live.
    pub async fn release_after(mut self, time: Duration) -> Result<Extended, Error> {
        self.stop().await;
        self.released = true;
        self.locker.extend(&self.tenure.name, self.tenure.token(), time).await
    }

    /// Stops the renewal, and returns when nothing of it is left.
    async fn stop(&mut self) {
        self.tenure.over.cancel();
        self.renewal.abort();
        // That it was cancelled is no news.
        _ = (&mut self.renewal).await;
    }
}

/// For as long as anybody will try.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

impl Drop for Guard {
    fn drop(&mut self) {
        self.tenure.over.cancel();
        self.renewal.abort();
        events::let_go(&self.tenure.name, self.tenure.since.elapsed());
        let gone = matches!(self.tenure.state().loss, Some(Loss::Absent | Loss::HeldByOther));
        if !self.released && !gone {
            // A renewal may still be on its way.
            let now = Instant::now();
            let until = now.checked_add(self.ttl).unwrap_or(now + FOR_EVER);
            self.locker.give_back(&self.tenure.name, &self.tenure.token(), until, &self.runtime);
        }
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let State { lease, loss } = &*self.tenure.state();
        f.debug_struct("Guard").field("name", &self.tenure.name).field("lease", lease).field("loss", loss).finish()
    }
}

impl Tenure {
    pub(crate) fn deadline(&self) -> Instant {
        self.state().lease.deadline
    }

    pub(crate) fn token(&self) -> Token {
        self.state().lease.token.clone()
    }

    pub(crate) fn renewed(&self, lease: Lease) {
        self.state.send_modify(|state| state.lease = lease);
    }

    pub(crate) fn lost(&self, loss: Loss) {
        events::lost(&self.name, &loss);
        self.state.send_modify(|state| state.loss = Some(loss));
        self.over.cancel();
    }

    fn state(&self) -> watch::Ref<'_, State> {
        self.state.borrow()
    }
}
