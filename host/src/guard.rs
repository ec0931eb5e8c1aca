//! Holding a lock for as long as work takes.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::hold_state::{Current, HoldState, HoldTimes};
use crate::renewal::Renewal;
use crate::{Error, Extended, Holder, Lease, Lock, LockOptions, Locker, Unlock, events};

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
    state: Arc<HoldState>,
    renewal: JoinHandle<()>,
    runtime: Handle,
    /// The time to live: the lock may be there for so long after the guard is gone, if it cannot be released.
    ttl: Duration,
    released: bool,
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
            Self::Expired(None) => f.write_str("the lease expired before it could be renewed"),
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
    /// Takes the lock `name` as [`Locker::lock`] does, and renews it for as long as the guard lives. A lease that has no more
    /// time left than its [grace](LockOptions::grace) when the answer arrives does not count.
    ///
    /// # Errors
    /// [`ErrorKind`](crate::ErrorKind); that somebody else holds the lock is an answer, not an error.
    pub async fn hold(&self, name: &str, options: impl Into<LockOptions>) -> Result<Lock<Guard>, Error> {
        let mut options = options.into();
        let times = HoldTimes::of(&options);
        options.ttl = times.first_ttl();
        let grant = match self.grant(name, options, |ttl| times.required(ttl)).await? {
            Lock::Granted(grant) => grant,
            Lock::Held(holder) => return Ok(Lock::Held(holder)),
        };
        let ttl = times.ttl(grant.term.ttl);
        let state = Arc::new(HoldState::new(name, times, grant));
        let renewal = self.tasks().spawn(Renewal::new(self.clone(), state.clone()).run());
        let runtime = Handle::current();
        Ok(Lock::Granted(Guard { locker: self.clone(), state, renewal, runtime, ttl, released: false }))
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
        if let Some(loss) = guard.state.loss() {
            return Ok(Ran::Lost { loss, done: None });
        }
        let done = tokio::select! {
            biased;
            loss = guard.lost() => return Ok(Ran::Lost { loss, done: None }),
            done = work(guard.lease()) => done,
        };
        if let Some(loss) = guard.state.loss() {
            return Ok(Ran::Lost { loss, done: Some(done) });
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
        &self.state.name
    }

    /// The lease as it was last renewed.
    #[must_use]
    pub fn lease(&self) -> Lease {
        self.state.current().lease.clone()
    }

    /// Larger for every later grant of the same name. Send it along with every write.
    #[must_use]
    pub fn fence(&self) -> u64 {
        self.state.current().lease.fence
    }

    /// When the lock counts as lost unless it is renewed by then: its [grace](LockOptions::grace) before the end of the lease, or
    /// at the end of its [maximum hold](LockOptions::max_hold).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), locker_host::Error> {
    /// # use std::time::{Duration, Instant};
    /// # use locker_host::{Locker, Memory};
    /// # let locker = Locker::new(Memory::default())?;
    /// let guard = locker.hold("job", Duration::from_secs(30)).await?.granted().expect("the lock is free");
    /// assert!(Instant::now() < guard.lost_at() && guard.lost_at() < guard.lease().deadline);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn lost_at(&self) -> Instant {
        self.state.lost_at()
    }

    /// Whether the lock is still held, as far as this process's clock can tell. Asking costs nothing, so ask before every
    /// step; but the answer is a moment old when it comes.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.state.loss().is_none()
    }

    /// Resolves when the lock has been renewed since it had the lease `before`: for those who pass its deadline on.
    pub async fn renewed(&self, before: &Lease) -> Lease {
        self.state.renewed_since(before).await
    }

    /// Resolves when the lock is lost. Never, if it is not.
    pub async fn lost(&self) -> Loss {
        self.state.lost().await
    }

    /// A token that is cancelled when the lock is lost, released or dropped: for work that goes on elsewhere.
    #[must_use]
    pub fn cancellation_token(&self) -> CancellationToken {
        self.state.over.child_token()
    }

    /// Stops renewing the lock, and then releases it.
    ///
    /// # Errors
    /// [`ErrorKind`](crate::ErrorKind). Releasing it is then tried again in the background until it would expire anyway.
    pub async fn release(mut self) -> Result<Unlock, Error> {
        self.stop().await;
        let released = self.locker.unlock(&self.state.name, self.state.token()).await;
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
        self.locker.extend(&self.state.name, self.state.token(), time).await
    }

    /// Stops the renewal, and returns when nothing of it is left.
    async fn stop(&mut self) {
        self.state.over.cancel();
        self.renewal.abort();
        // That it was cancelled is no news.
        _ = (&mut self.renewal).await;
    }
}

/// For as long as anybody will try.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

impl Drop for Guard {
    fn drop(&mut self) {
        self.state.over.cancel();
        self.renewal.abort();
        events::let_go(&self.state.name, self.state.since.elapsed());
        let gone = matches!(self.state.current().loss, Some(Loss::Absent | Loss::HeldByOther));
        if !self.released && !gone {
            // A renewal may still be on its way.
            let now = Instant::now();
            let until = now.checked_add(self.ttl).unwrap_or(now + FOR_EVER);
            self.locker.give_back(&self.state.name, &self.state.token(), until, &self.runtime);
        }
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Current { lease, loss, .. } = &*self.state.current();
        f.debug_struct("Guard").field("name", &self.state.name).field("lease", lease).field("loss", loss).finish()
    }
}
