//! Holding a lock for as long as work takes.
//!
//! - `grant`: takes a lock with enough time left. `renewal`: renews it; `state`: when it counts as lost; `lost_reason`: why.

pub(crate) mod grant;
mod lost_reason;
mod renewal;
mod state;
mod with_outcome;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use self::lost_reason::LostReason;
use self::renewal::Renewal;
use self::state::{Current, HoldState, HoldTimes};
pub use self::with_outcome::WithOutcome;
use crate::component::operations::Operations;
use crate::time::{after, elapsed, now};
use crate::{Error, ExtendOutcome, Lease, LockOptions, LockOutcome, UnlockOutcome, telemetry};

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

    /// Stops the renewal, and returns when nothing of it is left.
    async fn stop(&mut self) {
        self.state.over.cancel();
        self.renewal.abort();
        // That it was cancelled is no news.
        _ = (&mut self.renewal).await;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.state.over.cancel();
        self.renewal.abort();
        telemetry::released(&self.state.name, elapsed(self.state.since));
        let gone = matches!(self.state.current().loss, Some(LostReason::Absent | LostReason::HeldByOther));
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
