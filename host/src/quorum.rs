//! A store made of several that know nothing of each other.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

use crate::orphan_cleanup::OrphanCleanup;
use crate::{
    Cache, CacheError, DeleteOutcome, Entry, Error, ErrorKind, ExtendOutcome, QuorumMember, SetOutcome, Stored,
};

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
        Ok(Self { members: members.into(), cleanups, default_ttl, patience })
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

    /// Returns when a majority of the members may have the key free, or when `wait` has passed.
    async fn watch(&self, key: &str, wait: Duration) {
        let mut waiting = JoinSet::new();
        for member in &*self.members {
            let (member, key) = (member.clone(), key.to_owned());
            waiting.spawn(async move { member.watch(&key, wait).await.is_ok() });
        }
        let mut missing = self.members.len() - self.majority() + 1;
        let woken = async {
            while let Some(free) = waiting.join_next().await {
                missing -= usize::from(free.unwrap_or(false));
                if missing == 0 {
                    return;
                }
            }
            // Too few members can tell. The next attempt says why; attempts without a pause would not help.
            sleep(self.patience).await;
        };
        _ = timeout(wait, woken).await;
        // Callers that wake up together would split the vote again and again if they came together.
        let pause = Duration::from_micros(u64::from(getrandom::u32().unwrap_or_default() % 10_000));
        sleep(pause.min(wait)).await;
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

#[async_trait]
impl Cache for Quorum {
    async fn try_set(&self, key: &str, value: &str, ttl: Option<Duration>) -> Result<SetOutcome, CacheError> {
        let ttl = ttl.unwrap_or(self.default_ttl);
        let heard = self
            .ask(|member| {
                let (key, value) = (key.to_owned(), value.to_owned());
                async move { member.try_set(&key, &value, Some(ttl)).await }
            })
            .await;
        let stored: Vec<Option<Stored>> = heard
            .iter()
            .map(|answer| match answer {
                Ok(SetOutcome::Stored(stored)) => Some(*stored),
                _ => None,
            })
            .collect();
        if stored.iter().flatten().count() >= self.majority() {
            let highest = stored.iter().flatten().map(|stored| stored.revision).max().unwrap_or_default();
            let recorded = self.raise(key, value, highest, &stored).await;
            let deadline = Self::deadline(ttl, stored.iter().flatten());
            if recorded >= self.majority() && Instant::now() < deadline {
                return Ok(SetOutcome::Stored(Stored { revision: highest, deadline }));
            }
        }
        // All of them: those that did not answer may have stored it too. Done before the answer, for the caller may
        // come again with the same value.
        self.delete(key, value).await;
        let mut others = HashMap::<&str, (usize, &Entry)>::new();
        for answer in &heard {
            if let Ok(SetOutcome::Occupied(entry)) = answer {
                others.entry(&entry.value).or_insert((0, entry)).0 += 1;
            }
        }
        match others.into_values().max_by_key(|(members, _)| *members) {
            Some((_, entry)) if failed(&heard) <= self.members.len() - self.majority() => {
                Ok(SetOutcome::Occupied(entry.clone()))
            }
            _ => Err(self.failure(heard)),
        }
    }

    /// Makes attempts whenever the members say that the key may be free, after a random pause.
    async fn set_if_absent(
        &self,
        key: &str,
        value: &str,
        ttl: Option<Duration>,
        wait: Duration,
    ) -> Result<SetOutcome, CacheError> {
        let (started, mut left) = (Instant::now(), wait);
        loop {
            let outcome = self.try_set(key, value, ttl).await?;
            if left.is_zero() || matches!(outcome, SetOutcome::Stored(_)) {
                return Ok(outcome);
            }
            left = wait.saturating_sub(started.elapsed());
            self.watch(key, left).await;
            left = wait.saturating_sub(started.elapsed());
        }
    }

    async fn extend_if_equal(&self, key: &str, value: &str, ttl: Duration) -> Result<ExtendOutcome, CacheError> {
        let heard = self
            .ask(|member| {
                let (key, value) = (key.to_owned(), value.to_owned());
                async move { member.extend_if_equal(&key, &value, ttl).await }
            })
            .await;
        let extended = |answer: &Heard<ExtendOutcome>| match answer {
            Ok(ExtendOutcome::Extended(stored)) => Some(*stored),
            _ => None,
        };
        let stored: Vec<Stored> = heard.iter().filter_map(extended).collect();
        if stored.len() >= self.majority() {
            let revision = stored.iter().map(|stored| stored.revision).max().unwrap_or_default();
            return Ok(ExtendOutcome::Extended(Stored { revision, deadline: Self::deadline(ttl, stored.iter()) }));
        }
        if stored.len() + failed(&heard) >= self.majority() {
            // The members that did not answer may make it a majority.
            return Err(self.failure(heard));
        }
        let different = count(&heard, |answer| *answer == ExtendOutcome::Different);
        Ok(if different >= self.majority() { ExtendOutcome::Different } else { ExtendOutcome::Absent })
    }

    async fn delete_if_equal(&self, key: &str, value: &str) -> Result<DeleteOutcome, CacheError> {
        let heard = self.delete(key, value).await;
        self.delete_later(key, value, &heard);
        let (deleted, failed) = (count(&heard, |answer| *answer == DeleteOutcome::Deleted), failed(&heard));
        if self.members.len() - failed < self.majority() {
            return Err(self.failure(heard));
        }
        let different = count(&heard, |answer| *answer == DeleteOutcome::Different);
        Ok(if deleted > 0 && deleted + failed >= self.majority() {
            DeleteOutcome::Deleted
        } else if different >= self.majority() {
            DeleteOutcome::Different
        } else {
            DeleteOutcome::Absent
        })
    }

    /// Answers when a majority of the members has; the others are asked again in the background.
    async fn withdraw(&self, key: &str, value: &str) -> Result<(), CacheError> {
        let heard = self
            .ask(|member| {
                let (key, value) = (key.to_owned(), value.to_owned());
                async move { member.withdraw(&key, &value).await }
            })
            .await;
        if self.members.len() - failed(&heard) < self.majority() {
            return Err(self.failure(heard));
        }
        self.delete_later(key, value, &heard);
        Ok(())
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, CacheError> {
        let heard = self
            .ask(|member| {
                let key = key.to_owned();
                async move { member.get(&key).await }
            })
            .await;
        let mut values = HashMap::<&str, Vec<&Entry>>::new();
        for entry in heard.iter().flatten().flatten() {
            values.entry(&entry.value).or_default().push(entry);
        }
        let Some(mut entries) = values.into_values().max_by_key(Vec::len) else {
            let none = self.members.len() - failed(&heard) >= self.majority();
            return if none { Ok(None) } else { Err(self.failure(heard)) };
        };
        if entries.len() < self.majority() {
            // A minority's leftover is no lock, unless whoever did not answer holds it too.
            let certain = entries.len() + failed(&heard) < self.majority();
            return if certain { Ok(None) } else { Err(self.failure(heard)) };
        }
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.ttl.unwrap_or(Duration::MAX)));
        let revision = entries.iter().map(|entry| entry.revision).max().unwrap_or_default();
        // It is a majority's until this one lets go.
        let last = entries[self.majority() - 1];
        Ok(Some(Entry { value: last.value.clone(), revision, ttl: last.ttl }))
    }

    async fn keys(&self) -> Result<Vec<String>, CacheError> {
        let heard = self.ask(|member| async move { member.keys().await }).await;
        if self.members.len() - failed(&heard) < self.majority() {
            return Err(self.failure(heard));
        }
        let keys: BTreeSet<String> = heard.into_iter().flatten().flatten().collect();
        Ok(keys.into_iter().collect())
    }
}
