//! A store made of several that know nothing of each other.
//!
//! # Layout
//!
//! - `store`: the quorum as a [`Cache`](crate::Cache). `members`: one question to all members; `replies`: what they answered so far.
//! - `candidate`: the rounds of votes in which a caller becomes the holder; `tally`: what the votes of a round decide; `ballots`: the
//!   numbers of the rounds, of which the fencing tokens are made.
//! - `deletion`: a release; `extension`: an extension, and the restoration of members that lost the lock; `restorations`: those that may still arrive.
//! - `wait_queues`: the callers of this process that wait. `check`: what the members find of themselves.

mod ballots;
mod candidate;
mod check;
mod deletion;
mod extension;
mod members;
mod replies;
mod restorations;
mod store;
mod tally;
mod wait_queues;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::task::TaskTracker;

use self::ballots::Ballots;
use self::members::Member;
use self::restorations::Restorations;
use self::wait_queues::WaitQueues;
use crate::environment::Environment;
use crate::random::Random;
use crate::store::orphan_cleanup::{OrphanCleanup, Store};
use crate::store::{CacheError, ErrorKind, QuorumMember};
use crate::time::WallClock;

/// An odd number of independent stores, of which a majority decides: a lock survives the loss of the others.
///
/// A caller holds a lock while a majority of the members has its value. Each member has one value at a time, and any two majorities share a
/// member, so two callers never hold a lock at the same time, as long as a majority keeps what it confirmed. A grant is valid
/// until the first member of its majority may remove the value, less an allowance for clocks that run differently: a hundredth
/// of the time to live, and two milliseconds. All votes for a grant have the same fence. A member refuses a fence that is not higher
/// than the ones it stored before, so later grants have higher fences. `docs/guarantees.md` contains the whole argument.
///
/// A call returns as soon as a majority has decided it. A member that is slow or away costs nothing. An extension restores the lock
/// on members that lost it, as long as a majority has it.
///
/// Callers of one process that wait are served first come, first served. Callers of several processes contend.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), locker_host::Error> {
/// use std::sync::Arc;
/// use std::time::Duration;
/// use locker_host::{Locker, Memory, Quorum, QuorumMember};
///
/// let members = (0..3).map(|_| Arc::new(Memory::default()) as Arc<dyn QuorumMember>);
/// let locker = Locker::new(Quorum::new(members.collect())?)?;
/// assert!(locker.lock("job", Duration::from_secs(30)).await?.granted().is_some());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Quorum {
    members: Arc<[Member]>,
    ballots: Arc<Ballots>,
    random: Random,
    /// Of the callers of this process, one at a time contends for a key.
    queues: WaitQueues,
    restorations: Restorations,
    /// The requests whose answers no caller waits for any more.
    tasks: TaskTracker,
    default_ttl: Duration,
    timeout: Duration,
}

impl Quorum {
    /// A store made of `members`, an odd number of three or more.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for another number: an even one is no safer than one less.
    pub fn new(members: Vec<Arc<dyn QuorumMember>>) -> Result<Self, CacheError> {
        if members.len() < 3 || members.len().is_multiple_of(2) {
            let message = format!("a quorum is made of 3, 5, 7... caches, not of {}", members.len());
            return Err(CacheError::new(ErrorKind::Invalid, message));
        }
        let tasks = TaskTracker::new();
        let member = |member: Arc<dyn QuorumMember>| {
            let cleanup = OrphanCleanup::new(Store::Member(member.clone()), tasks.clone());
            Member { store: member, cleanup }
        };
        Ok(Self {
            members: members.into_iter().map(member).collect(),
            ballots: Arc::new(Ballots::new(WallClock::default())),
            random: Random::default(),
            queues: WaitQueues::default(),
            restorations: Restorations::default(),
            tasks,
            default_ttl: Duration::from_secs(30),
            timeout: Duration::from_millis(500),
        })
    }

    /// Stores values without a time to live for `ttl` instead of 30 seconds, whatever the members' own defaults are.
    #[must_use]
    pub fn default_ttl(mut self, ttl: Duration) -> Self {
        self.default_ttl = ttl;
        self
    }

    /// Waits for the answer of a member for `timeout` instead of half a second, when the others do not decide without it. It should be short
    /// against the time to live.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Makes all choices of this quorum depend on `environment`, for simulations.
    #[must_use]
    pub fn environment(mut self, environment: &Environment) -> Self {
        self.random = environment.random.clone();
        self.ballots = Arc::new(Ballots::new(environment.clock));
        self
    }

    /// What this quorum, without its members, remembers of callers and requests, in words, for simulations: nothing once none of them is under way.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use locker_host::{Memory, Quorum, QuorumMember};
    ///
    /// let members = (0..3).map(|_| Arc::new(Memory::default()) as Arc<dyn QuorumMember>).collect();
    /// assert!(Quorum::new(members).unwrap().remembered().is_empty());
    /// ```
    #[must_use]
    pub fn remembered(&self) -> Vec<String> {
        self.queues.remembered().into_iter().chain(self.restorations.remembered()).collect()
    }

    fn majority(&self) -> usize {
        self.members.len() / 2 + 1
    }

    /// Until when a majority has what it stored for `ttl` until `earliest`: clocks may run differently.
    fn deadline(ttl: Duration, earliest: Instant) -> Instant {
        let drift = ttl / 100 + Duration::from_millis(2);
        earliest.checked_sub(drift).unwrap_or(earliest)
    }
}
