//! Holding a lock for as long as work takes.
//!
//! - `grant`: takes a lock with enough time left; `outages`: waits on through them. `lead`: holds it again and again. `renewal`: renews it;
//!   `revocation`: learns that it was revoked; `state`: when it counts as lost; `lost_reason`: why.

pub(crate) mod grant;
pub(crate) mod lead;
mod lost_reason;
mod outages;
mod renewal;
mod revocation;
mod state;
mod with_outcome;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

pub use self::lost_reason::LostReason;
use self::renewal::Renewal;
use self::state::{Current, HoldState, HoldTimes};
pub use self::with_outcome::WithOutcome;
use crate::component::operations::Operations;
use crate::time::{after, elapsed, now};
use crate::{Error, ErrorKind, ExtendOutcome, Lease, LockOptions, LockOutcome, UnlockOutcome, telemetry};

/// How long to wait before the end of the work is recorded again.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A lock that is renewed until it is released or dropped, or until it is lost.
///
/// It is renewed when a third of its time to live has passed, again and again. When that fails until its time is nearly
/// up, or another caller has the lock, it is lost: [`Guard::lost`] resolves, and [`Guard::cancellation_token`] is
/// cancelled, by this process's clock before another caller can be granted the lock. Then stop working.
///
/// Dropping it releases the lock in the background; [`Guard::release`] waits for that and returns the outcome.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), locker_host::Error> {
/// use std::time::Duration;
/// use locker_host::{LockOutcome, Locker, Memory, UnlockOutcome};
///
/// let locker = Locker::new(Memory::default())?;
/// let LockOutcome::Granted(guard) = locker.hold("job", Duration::from_secs(30)).await? else { panic!("the lock is held") };
/// tokio::select! {
///     loss = guard.lost() => println!("stopped working: {loss}"),
///     () = work(guard.fence()) => println!("done"),
/// }
/// assert_eq!(guard.release().await?, UnlockOutcome::Released);
/// # async fn work(fence: u64) {}
/// # Ok(())
/// # }
/// ```
#[must_use = "a guard that is dropped releases its lock"]
pub struct Guard {
    operations: Operations,
    state: Arc<HoldState>,
    renewal: JoinHandle<()>,
    runtime: Handle,
    /// The time to live: the lock may be there for so long after the guard is gone, if it cannot be released.
    ttl: Duration,
    released: bool,
}

impl Guard {
    pub(crate) async fn take(
        operations: &Operations,
        name: &str,
        mut options: LockOptions,
    ) -> Result<LockOutcome<Self>, Error> {
        let times = HoldTimes::of(&options);
        options.ttl = times.first_ttl();
        let grant = match grant::grant(operations, name, options, |ttl| times.required(ttl)).await? {
            LockOutcome::Granted(grant) => grant,
            LockOutcome::Held(holder) => return Ok(LockOutcome::Held(holder)),
        };
        let ttl = times.ttl(grant.term.ttl);
        let state = Arc::new(HoldState::new(name, times, grant));
        let renewal = operations.tasks().spawn(Renewal::new(operations.clone(), state.clone()).run());
        let (operations, runtime) = (operations.clone(), Handle::current());
        Ok(LockOutcome::Granted(Self { operations, state, renewal, runtime, ttl, released: false }))
    }

    /// From here on, until it is lost or released, the guard counts as a leader's.
    pub(crate) fn begin_term(&self) {
        self.state.begin_term();
    }

    /// Runs `work` while the lock is held, and releases it. The work is cancelled if the lock is lost.
    pub(crate) async fn run<T, W: Future<Output = T>>(self, work: impl FnOnce(Lease) -> W) -> WithOutcome<T> {
        if let Some(reason) = self.loss() {
            return WithOutcome::Lost { reason, done: None };
        }
        let done = tokio::select! {
            biased;
            reason = self.lost() => return WithOutcome::Lost { reason, done: None },
            done = work(self.lease()) => done,
        };
        if let Some(reason) = self.loss() {
            return WithOutcome::Lost { reason, done: Some(done) };
        }
        match self.release().await {
            Ok(UnlockOutcome::Absent) => WithOutcome::Lost { reason: LostReason::Absent, done: Some(done) },
            Ok(UnlockOutcome::HeldByOther) => WithOutcome::Lost { reason: LostReason::HeldByOther, done: Some(done) },
            Ok(UnlockOutcome::Released) | Err(_) => WithOutcome::Done(done),
        }
    }

    /// Why the lock is lost, if it is.
    pub(crate) fn loss(&self) -> Option<LostReason> {
        self.state.loss()
    }

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
        self.state.fence()
    }

    /// When the lock counts as lost unless it is renewed by then: its [expiry margin](LockOptions::expiry_margin) before the end of the lease, or
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

    /// Whether the lock is still held, by this process's clock. It costs nothing, so check it before every
    /// step; but the answer is a moment old when it comes.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.state.loss().is_none()
    }

    /// Resolves when the lock has been renewed since it had the lease `before`.
    pub async fn renewed(&self, before: &Lease) -> Lease {
        self.state.renewed_since(before).await
    }

    /// Resolves when the lock is lost. Never, if it is not.
    pub async fn lost(&self) -> LostReason {
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
    pub async fn release(mut self) -> Result<UnlockOutcome, Error> {
        self.stop().await;
        let released = self.operations.unlock(&self.state.name, self.state.token()).await;
        self.released = released.is_ok();
        released
    }

    /// Stops renewing the lock, and lets it free itself after `time`, whatever time it had left.
    ///
    /// # Errors
    /// [`ErrorKind`](crate::ErrorKind). The lock then frees itself at the end of its time to live.
    pub async fn release_after(mut self, time: Duration) -> Result<ExtendOutcome, Error> {
        self.stop().await;
        self.released = true;
        self.operations.extend(&self.state.name, self.state.token(), time).await
    }

    /// Says that the work is done, and keeps the lock taken until `period` after it was acquired: a caller that asks for it meanwhile learns who did
    /// the work, and when ([`Holder::done`](crate::Holder::done)). If the period is over, the lock is released.
    ///
    /// While the cache is unavailable, this tries again until the lease ends. If the work failed, [release](Self::release) the lock, so
    /// that another caller can try.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), locker_host::Error> {
    /// use std::time::Duration;
    /// use locker_host::{LockOutcome, Locker, Memory};
    ///
    /// let locker = Locker::new(Memory::default())?;
    /// match locker.hold("report", Duration::from_secs(30)).await? {
    ///     LockOutcome::Granted(guard) => {
    ///         println!("report made");
    ///         guard.complete(Duration::from_secs(60 * 60)).await?;
    ///     }
    ///     LockOutcome::Held(holder) if holder.done.is_some() => println!("made by another"),
    ///     LockOutcome::Held(_) => println!("another is at work"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind`](crate::ErrorKind). Then the lock is released in the background, unless the work counts as done all the same.
    pub async fn complete(mut self, period: Duration) -> Result<UnlockOutcome, Error> {
        let rest = period.saturating_sub(elapsed(self.state.since));
        if rest.is_zero() {
            return self.release().await;
        }
        self.stop().await;
        let (limit, pause) = (self.state.lost_at(), (self.ttl / 30).min(LONGEST_PAUSE));
        loop {
            // Each time with the same record, so that a repetition is the same request.
            match self.operations.complete(self.name(), self.state.token(), rest).await {
                Err(error) if error.kind() == ErrorKind::Unavailable && now() + pause < limit => sleep(pause).await,
                answer => {
                    self.released = answer.is_ok();
                    if let Ok(UnlockOutcome::Released) = answer {
                        telemetry::completed(self.name(), self.fence(), period);
                    }
                    return answer;
                }
            }
        }
    }

    /// Stops the renewal, and returns when nothing of it is left.
    async fn stop(&mut self) {
        self.state.end();
        self.renewal.abort();
        // That it was cancelled is no news.
        _ = (&mut self.renewal).await;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.state.end();
        self.renewal.abort();
        telemetry::released(&self.state.name, elapsed(self.state.since));
        let gone = matches!(
            self.state.current().loss,
            Some(LostReason::Absent | LostReason::HeldByOther | LostReason::Revoked)
        );
        if !self.released && !gone {
            // A renewal may still be on its way.
            let until = after(now(), self.ttl);
            self.operations.withdraw(&self.state.name, &self.state.token(), until, &self.runtime);
        }
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Current { lease, loss, .. } = &*self.state.current();
        f.debug_struct("Guard").field("name", &self.state.name).field("lease", lease).field("loss", loss).finish()
    }
}
