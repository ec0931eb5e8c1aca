//! A store made of several that know nothing of each other.

mod store;
mod wait_queues;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use self::wait_queues::WaitQueues;
use crate::orphan_cleanup::OrphanCleanup;
use crate::{CacheError, DeleteOutcome, Error, ErrorKind, QuorumMember, Stored};

/// An odd number of independent stores, of which a majority decides: a lock outlives the loss of the others.
///
/// What counts is what a majority of the members says. A grant is valid until the first of its majority may let go,
/// less an allowance for clocks that do not run alike: a hundredth of the time to live, and two milliseconds. A member
/// that does not answer in time counts as not there. Before a grant is answered, a majority has recorded its fence;
/// any two majorities share a member, so every later fence is higher, although each member counts for itself.
///
/// Members must not forget what they confirmed: one that restarts empty may let a second holder in before the first
/// one's time is up. The second one's fence is higher all the same.
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
    members: Arc<[Arc<dyn QuorumMember>]>,
    /// For each member, the values that it could not be asked to delete.
    cleanups: Arc<[OrphanCleanup]>,
    /// Of the callers of this process, one at a time contends for a key.
    queues: WaitQueues,
    default_ttl: Duration,
    patience: Duration,
}

/// What a member answered.
type Heard<T> = Result<T, CacheError>;

/// How long a member may have a value that it could not be asked to delete.
const ASSUMED_TTL: Duration = Duration::from_secs(60);

impl Quorum {
    /// A store made of `members`, an odd number of three or more.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for another number: an even one is no safer than one less.
    pub fn new(members: Vec<Arc<dyn QuorumMember>>) -> Result<Self, Error> {
        if members.len() < 3 || members.len().is_multiple_of(2) {
            let message = format!("a quorum is made of 3, 5, 7... caches, not of {}", members.len());
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        let (default_ttl, patience) = (Duration::from_secs(30), Duration::from_millis(500));
        let cleanups = members.iter().map(|member| OrphanCleanup::new(member.clone(), TaskTracker::new())).collect();
        Ok(Self { members: members.into(), cleanups, queues: WaitQueues::default(), default_ttl, patience })
    }

    /// Keeps what comes without a time to live for `ttl` instead of 30 seconds, whatever the members' own defaults are.
    #[must_use]
    pub fn default_ttl(mut self, ttl: Duration) -> Self {
        self.default_ttl = ttl;
        self
    }

    /// Waits for a member's answer this long instead of half a second. Every operation waits so long for a member
    /// that hangs, so it should be short against the time to live.
    #[must_use]
    pub fn timeout(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    fn majority(&self) -> usize {
        self.members.len() / 2 + 1
    }

    /// What all members answer to the same question, in their order.
    async fn ask<T, F>(&self, question: impl Fn(Arc<dyn QuorumMember>) -> F) -> Vec<Heard<T>>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, CacheError>> + Send + 'static,
    {
        let mut asked = JoinSet::new();
        for (number, member) in self.members.iter().enumerate() {
            let (answer, patience) = (question(member.clone()), self.patience);
            asked.spawn(async move {
                let silent = |_| Err(CacheError::new(ErrorKind::Unavailable, format!("no answer in {patience:?}")));
                let answer = timeout(patience, answer).await.unwrap_or_else(silent);
                (number, answer)
            });
        }
        let mut heard = asked.join_all().await;
        heard.sort_by_key(|(number, _)| *number);
        heard.into_iter().map(|(_, heard)| heard).collect()
    }

    async fn delete(&self, key: &str, value: &str) -> Vec<Heard<DeleteOutcome>> {
        self.ask(|member| {
            let (key, value) = (key.to_owned(), value.to_owned());
            async move { member.delete_if_equal(&key, &value).await }
        })
        .await
    }

    /// Deletes the value, sooner or later, from the members that did not answer when they were asked to.
    fn delete_later<T>(&self, key: &str, value: &str, heard: &[Heard<T>]) {
        let (gone, runtime) = (Instant::now() + ASSUMED_TTL, Handle::current());
        for (cleanup, _) in self.cleanups.iter().zip(heard).filter(|(_, answer)| answer.is_err()) {
            cleanup.add(key.to_owned(), value.to_owned(), gone, &runtime);
        }
    }

    /// How many of the members that stored a value have recorded that its revision is `highest`.
    async fn raise(&self, key: &str, value: &str, highest: u64, stored: &[Option<Stored>]) -> usize {
        let mut raising = JoinSet::new();
        let mut recorded = 0;
        for (member, stored) in self.members.iter().zip(stored) {
            match stored {
                Some(stored) if stored.revision == highest => recorded += 1,
                Some(_) => {
                    let (member, key, value) = (member.clone(), key.to_owned(), value.to_owned());
                    let patience = self.patience;
                    raising.spawn(async move { timeout(patience, member.raise_revision(&key, &value, highest)).await });
                }
                None => {}
            }
        }
        recorded + raising.join_all().await.iter().filter(|raised| matches!(raised, Ok(Ok(true)))).count()
    }

    /// Why there is no majority: the members' common refusal, or that too few of them answered.
    fn failure<T>(&self, heard: Vec<Heard<T>>) -> CacheError {
        let (all, needed) = (self.members.len(), self.majority());
        let errors: Vec<_> = heard.into_iter().filter_map(Result::err).collect();
        let answered = all - errors.len();
        let refusals = errors.iter().filter(|error| error.kind() != ErrorKind::Unavailable).count();
        if errors.is_empty() {
            return CacheError::new(ErrorKind::Unavailable, "the caches answered too late for this time to live");
        }
        let mut said: Vec<_> = errors.iter().map(ToString::to_string).collect();
        said.dedup();
        let message = format!("{answered} of {all} caches answered, and {needed} are needed: {}", said.join("; "));
        let refused = errors.iter().find(|error| error.kind() != ErrorKind::Unavailable && refusals >= needed);
        CacheError::new(refused.map_or(ErrorKind::Unavailable, CacheError::kind), message)
    }

    /// Until when a majority surely has what was set for `ttl`: the earliest of these, less what clocks may differ by.
    fn deadline<'a>(ttl: Duration, stored: impl Iterator<Item = &'a Stored>) -> Instant {
        let drift = ttl / 100 + Duration::from_millis(2);
        let earliest = stored.map(|stored| stored.deadline).min().unwrap_or_else(Instant::now);
        earliest.checked_sub(drift).unwrap_or(earliest)
    }
}

fn count<T>(heard: &[Heard<T>], what: impl Fn(&T) -> bool) -> usize {
    heard.iter().filter(|answer| answer.as_ref().is_ok_and(&what)).count()
}

fn failed<T>(heard: &[Heard<T>]) -> usize {
    heard.iter().filter(|answer| answer.is_err()).count()
}
