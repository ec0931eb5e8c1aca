//! What callers use.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::component::operations::Operations;
use crate::environment::Environment;
use crate::hold::Guard;
use crate::hold::grant::grant;
use crate::hold::lead::{campaign, lead};
use crate::time::least_left;
use crate::{
    Cache, Error, ErrorKind, ExtendOutcome, Finding, Holder, Lease, Limits, LockOptions, LockOutcome, UnlockOutcome,
    Watch, WithOutcome,
};

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
/// use locker_host::{Locker, Memory, UnlockOutcome};
///
/// let locker = Locker::new(Memory::default())?;
/// let lease = locker.lock("job", Duration::from_secs(30)).await?.granted().expect("the lock is free");
/// assert_eq!(locker.unlock("job", &lease.token).await?, UnlockOutcome::Released);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Locker(Operations);

/// How many locks [`Locker::list`] inspects at a time.
const LIST_CONCURRENCY: usize = 64;

impl Locker {
    /// A locker over `cache`. The first one in a process compiles the component, which takes some ten milliseconds, or finds it
    /// where `set_compilation_cache_dir` said.
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
        Self::with_environment(cache, limits, &Environment::default())
    }

    /// A locker with the random bits and the time of day of `environment`. Lockers with equal simulated environments make the same choices.
    ///
    /// # Errors
    /// [`ErrorKind::Fault`] if the component cannot be loaded.
    pub fn with_environment(cache: impl Cache, limits: Limits, environment: &Environment) -> Result<Self, Error> {
        Operations::new(Arc::new(cache), limits, environment.random.clone()).map(Self)
    }

    /// Takes the lock `name` if it is free, or waits for it as long as `options` say.
    ///
    /// A name is 1 to 512 bytes without control characters, compared byte for byte. The lock is not reentrant: its
    /// holder is refused too.
    /// A lease that is over when the answer arrives does not count: it is released, and the call waits again if it still has
    /// time.
    ///
    /// # Errors
    /// [`ErrorKind`]; that another caller holds the lock is an answer, not an error.
    pub async fn lock(&self, name: &str, options: impl Into<LockOptions>) -> Result<LockOutcome, Error> {
        grant(&self.0, name, options.into(), least_left).await.map(|lock| match lock {
            LockOutcome::Granted(grant) => LockOutcome::Granted(grant.lease),
            LockOutcome::Held(holder) => LockOutcome::Held(holder),
        })
    }

    /// Takes the lock `name` as [`Locker::lock`] does, and renews it for as long as the guard lives. A lease that has no more
    /// time left than its [expiry margin](LockOptions::expiry_margin) when the answer arrives does not count.
    ///
    /// # Errors
    /// [`ErrorKind`](crate::ErrorKind); that another caller holds the lock is an answer, not an error.
    pub async fn hold(&self, name: &str, options: impl Into<LockOptions>) -> Result<LockOutcome<Guard>, Error> {
        Guard::take(&self.0, name, options.into()).await
    }

    /// Runs `work` while holding the lock `name`, and releases it. If the lock is lost, the work is cancelled: its future
    /// is dropped at the next point where it waits.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), locker_host::Error> {
    /// use std::time::Duration;
    /// use locker_host::{Locker, Memory, WithOutcome};
    ///
    /// let locker = Locker::new(Memory::default())?;
    /// match locker.with("job", Duration::from_secs(30), |lease| async move { lease.fence }).await? {
    ///     WithOutcome::Done(fence) => println!("done with fence {fence}"),
    ///     WithOutcome::Held(holder) => println!("held by {:?}", holder.owner),
    ///     WithOutcome::Lost { reason, .. } => println!("stopped: {reason}"),
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
    ) -> Result<WithOutcome<T>, Error>
    where
        W: Future<Output = T>,
    {
        let guard = match self.hold(name, options).await? {
            LockOutcome::Granted(guard) => guard,
            LockOutcome::Held(holder) => return Ok(WithOutcome::Held(holder)),
        };
        Ok(guard.run(work).await)
    }

    /// Waits for the lock `name` without an end, through [outages](LockOptions::through_outages), and holds it as a leader: with events and
    /// metrics of its own. [`Locker::lead`] does this again and again; use this if work needs time to stop when the lock is lost. The
    /// [wait](LockOptions::wait) and the [token](LockOptions::token) of `options` do not count.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), locker_host::Error> {
    /// use std::time::Duration;
    /// use locker_host::{Locker, Memory};
    ///
    /// let locker = Locker::new(Memory::default())?;
    /// let guard = locker.campaign("scheduler", Duration::from_secs(30)).await?;
    /// println!("leading with fence {}", guard.fence());
    /// guard.release().await?; // the next one in the queue leads
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind`], but for [`ErrorKind::Unavailable`] only after [`Locker::close`].
    pub async fn campaign(&self, name: &str, options: impl Into<LockOptions>) -> Result<Guard, Error> {
        campaign(&self.0, name, options.into()).await
    }

    /// Leads: [campaigns](Locker::campaign) for the lock `name`, runs `work` while it is held, releases it, and returns what the work
    /// returned. If the lock is lost, the work is cancelled, its future is dropped at the next point where it waits, and the call campaigns
    /// again. The work then starts anew, with a higher [fence](Lease::fence).
    ///
    /// Of all callers at most one holds an unexpired lease. A process that was paused learns late that it leads no longer: send the fence along with each
    /// write. The next caller in the queue leads after a release within a hand-off, and after a crash within the time to live. If the lock is
    /// lost just as the work ends, the work counts as done, and another leader may have worked beside it.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), locker_host::Error> {
    /// use std::time::Duration;
    /// use locker_host::{LockOptions, Locker, Memory};
    ///
    /// let locker = Locker::new(Memory::default())?;
    /// let options = LockOptions::from(Duration::from_secs(30)).owner("node 1");
    /// let fence = locker.lead("scheduler", options, |lease| async move { lease.fence }).await?;
    /// println!("led with fence {fence}");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind`], from taking the lock: a refusal, or [`ErrorKind::Unavailable`] after [`Locker::close`].
    pub async fn lead<T, W>(
        &self,
        name: &str,
        options: impl Into<LockOptions>,
        work: impl FnMut(Lease) -> W,
    ) -> Result<T, Error>
    where
        W: Future<Output = T>,
    {
        lead(&self.0, name, options.into(), work).await
    }

    /// Releases the lock `name` if `token` holds it.
    ///
    /// # Errors
    /// [`ErrorKind`]; that the token does not hold the lock is an answer, not an error.
    pub async fn unlock(&self, name: &str, token: impl AsRef<str>) -> Result<UnlockOutcome, Error> {
        self.0.unlock(name, token).await
    }

    /// Gives the lock `name` the time to live `ttl` from now, more or less than it had left, if `token` holds it.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), locker_host::Error> {
    /// # use std::time::Duration;
    /// # use locker_host::{ExtendOutcome, Locker, Memory};
    /// # let locker = Locker::new(Memory::default())?;
    /// let lease = locker.lock("job", Duration::from_secs(30)).await?.granted().expect("the lock is free");
    /// let ExtendOutcome::Extended(longer) = locker.extend("job", &lease.token, Duration::from_secs(90)).await? else {
    ///     panic!("we lost the lock: stop working");
    /// };
    /// assert_eq!(longer.fence, lease.fence);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind`]; that the token does not hold the lock is an answer, not an error.
    pub async fn extend(&self, name: &str, token: impl AsRef<str>, ttl: Duration) -> Result<ExtendOutcome, Error> {
        self.0.extend(name, token, ttl).await
    }

    /// Says that the work under the lock `name` is done, if `token` holds it: the lock stays taken for `ttl` from now, and no token extends or
    /// releases it. A caller that asks for it meanwhile learns who completed the work, and when ([`Holder::done`]). Only [`Locker::revoke`] ends
    /// that sooner. `ttl` may be longer than [`Limits::max_ttl`]. [`Guard::complete`](crate::Guard::complete) does this for a guard.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), locker_host::Error> {
    /// # use std::time::Duration;
    /// # use locker_host::{Locker, Memory, UnlockOutcome};
    /// # let locker = Locker::new(Memory::default())?;
    /// let lease = locker.lock("report", Duration::from_secs(30)).await?.granted().expect("the lock is free");
    /// locker.complete("report", &lease.token, Duration::from_secs(60 * 60)).await?;
    /// assert!(locker.inspect("report").await?.expect("the lock stays taken").done.is_some());
    /// assert_eq!(locker.unlock("report", &lease.token).await?, UnlockOutcome::HeldByOther);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind`]; that the token does not hold the lock is an answer, not an error.
    pub async fn complete(&self, name: &str, token: impl AsRef<str>, ttl: Duration) -> Result<UnlockOutcome, Error> {
        self.0.complete(name, token, ttl).await
    }

    /// Takes the lock `name` from its holder: the one with the fence `fence`, or any if there is none. The next waiter gets the lock, and the
    /// [`Guard`] of the former holder is told. Until it stops, two may be at work: only the fence protects from that.
    ///
    /// Without a fence, this takes the lock from the holder that it finds. If another one has it by then, the answer is
    /// [`UnlockOutcome::HeldByOther`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), locker_host::Error> {
    /// # use std::time::Duration;
    /// # use locker_host::{Locker, Memory, UnlockOutcome};
    /// # let locker = Locker::new(Memory::default())?;
    /// let lease = locker.lock("job", Duration::from_secs(30)).await?.granted().expect("the lock is free");
    /// assert_eq!(locker.revoke("job", Some(lease.fence)).await?, UnlockOutcome::Released);
    /// assert_eq!(locker.revoke("job", None).await?, UnlockOutcome::Absent);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind`]; [`ErrorKind::Invalid`] if the store has something under this name that is not a lock.
    pub async fn revoke(&self, name: &str, fence: Option<u64>) -> Result<UnlockOutcome, Error> {
        let fence = match fence {
            Some(fence) => fence,
            None => match self.inspect(name).await? {
                Some(holder) => holder.fence,
                None => return Ok(UnlockOutcome::Absent),
            },
        };
        self.0.revoke(name, fence).await
    }

    /// Returns the holder of the lock `name`, if it has one. The answer may be out of date when it arrives.
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
        self.0.inspect(name).await
    }

    /// Watches the lock `name`: [`Watch::changed`] returns its holder, and then each change.
    #[must_use]
    pub fn watch(&self, name: &str) -> Watch {
        Watch::new(self.0.clone(), name)
    }

    /// All locks that are held, by name. This looks at every key of the store. It is for operators, not for
    /// decisions. Locks that are taken or released meanwhile may be among them or not.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), locker_host::Error> {
    /// use std::time::Duration;
    /// use locker_host::{Locker, Memory};
    ///
    /// let locker = Locker::new(Memory::default())?;
    /// let _lease = locker.lock("job", Duration::from_secs(30)).await?;
    /// assert!(locker.list().await?.contains_key("job"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind`].
    pub async fn list(&self) -> Result<BTreeMap<String, Holder>, Error> {
        let names: BTreeSet<String> = self.0.cache().keys().await?.into_iter().collect();
        let (mut names, mut asked, mut held) = (names.into_iter(), JoinSet::new(), BTreeMap::new());
        loop {
            while asked.len() < LIST_CONCURRENCY
                && let Some(name) = names.next()
            {
                let operations = self.0.clone();
                asked.spawn(async move {
                    let holder = operations.inspect(&name).await;
                    (name, holder)
                });
            }
            let Some(answer) = asked.join_next().await else { return Ok(held) };
            // Only a cancelled or panicked task has no answer, and these are not cancelled.
            let Ok((name, holder)) = answer else { continue };
            match holder {
                Ok(Some(holder)) => _ = held.insert(name, holder),
                Ok(None) => {}
                // The key has a value that is not a lock.
                Err(error) if error.kind() == ErrorKind::Invalid => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Looks for what may keep locks from working on the store: reachability, permissions, settings that lose locks, clocks, and what a
    /// lock costs. The findings are in the order in which they were made. It takes locks of its own only, and leaves nothing in the
    /// store that does not expire within seconds, besides the fence counter of each server.
    ///
    /// A store that cannot be used is a finding, too.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), locker_host::Error> {
    /// use locker_host::{Locker, Memory, Status};
    ///
    /// let findings = Locker::new(Memory::default())?.check().await;
    /// for finding in &findings {
    ///     println!("{}: {} {}", finding.status.name(), finding.subject, finding.found);
    /// }
    /// assert!(findings.iter().all(|finding| finding.status < Status::Failure));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn check(&self) -> Vec<Finding> {
        self.0.cache().check().await
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
        self.0.close().await;
    }

    /// The same locker over another cache: a plugin's part of this one.
    pub(crate) fn over(&self, cache: Arc<dyn Cache>) -> Self {
        Self(self.0.over(cache))
    }

    pub(crate) fn operations(&self) -> &Operations {
        &self.0
    }
}
