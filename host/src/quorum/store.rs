//! A quorum as a store.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{Heard, Quorum, count, failed};
use crate::{Cache, CacheError, DeleteOutcome, Entry, ExtendOutcome, SetOutcome, Stored};

#[async_trait]
impl Cache for Quorum {
    fn default_ttl(&self) -> Duration {
        self.default_ttl
    }

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

    /// Makes attempts whenever the members say that the key may be free, after a random pause. Of the callers of this process only
    /// one does, so the number of those that wait does not matter to the members. They are served first come, first served;
    /// those of other processes contend.
    async fn set_if_absent(
        &self,
        key: &str,
        value: &str,
        ttl: Option<Duration>,
        wait: Duration,
    ) -> Result<SetOutcome, CacheError> {
        if wait.is_zero() {
            return self.try_set(key, value, ttl).await;
        }
        let started = Instant::now();
        let left = || wait.saturating_sub(started.elapsed());
        // A caller whose turn does not come makes an attempt at the end of its wait.
        let _permit = timeout(wait, self.queues.permit(key)).await;
        loop {
            let last = left().is_zero();
            let outcome = self.try_set(key, value, ttl).await?;
            if last || matches!(outcome, SetOutcome::Stored(_)) {
                return Ok(outcome);
            }
            self.watch(key, left()).await;
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

impl Quorum {
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
}
