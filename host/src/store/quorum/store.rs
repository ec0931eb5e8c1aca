//! A quorum as a store.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::Quorum;
use super::candidate::{Candidate, Election, SPLIT_TIMEOUTS};
use super::members::ASSUMED_TTL;
use super::replies::{Replies, by_value, of_majority, revision_of_majority};
use crate::store::{
    Cache, CacheError, DeleteOutcome, Entry, ErrorKind, ExtendOutcome, Finding, Revocation, SetOutcome,
};
use crate::time::{after, now};

#[async_trait]
impl Cache for Quorum {
    fn default_ttl(&self) -> Duration {
        self.default_ttl
    }

    async fn try_set(&self, key: &str, value: &str, ttl: Option<Duration>) -> Result<SetOutcome, CacheError> {
        self.set_if_absent(key, value, ttl, Duration::ZERO).await
    }

    /// Makes an attempt whenever the members say that the key may be free. Of the callers of this process only one does, so the number of
    /// waiters does not matter to the members. They are served first come, first served; those of other processes contend.
    async fn set_if_absent(
        &self,
        key: &str,
        value: &str,
        ttl: Option<Duration>,
        wait: Duration,
    ) -> Result<SetOutcome, CacheError> {
        let ends = after(now(), wait);
        let left = || ends.saturating_duration_since(now());
        // A caller whose turn does not come makes an attempt at the end of its wait.
        let _permit = if wait.is_zero() { None } else { timeout(wait, self.queues.permit(key)).await.ok() };
        let mut candidate = Candidate::new(self, key, value, ttl.unwrap_or(self.default_ttl));
        loop {
            let last = left().is_zero();
            match candidate.run().await? {
                Election::Granted(stored) => return Ok(SetOutcome::Stored(stored)),
                Election::Held(entry) if last => {
                    candidate.give_up();
                    return Ok(SetOutcome::Occupied(entry));
                }
                Election::Held(_) => self.watch(key, left()).await,
                Election::Split if last => return Err(self.split()),
                Election::Split => sleep(self.random.up_to_twice(self.timeout / 4).min(left())).await,
            }
        }
    }

    async fn extend_if_equal(&self, key: &str, value: &str, ttl: Duration) -> Result<ExtendOutcome, CacheError> {
        self.extend(key, value, ttl).await
    }

    async fn replace_if_equal(
        &self,
        key: &str,
        value: &str,
        replacement: &str,
        ttl: Duration,
    ) -> Result<ExtendOutcome, CacheError> {
        self.replace(key, value, replacement, ttl).await
    }

    async fn delete_if_equal(&self, key: &str, value: &str) -> Result<DeleteOutcome, CacheError> {
        self.delete(key, value).await
    }

    /// Withdraws the value, too: the holder may be about to restore it on members that have deleted it. If the holder replaces the value at the
    /// same time, members that fail may hide which of the two came first: a replacement has the revision of the value.
    async fn revoke_if_equal(&self, key: &str, value: &str) -> Result<DeleteOutcome, CacheError> {
        let before = self.get(key).await?.map(|entry| entry.revision);
        let outcome = self.delete(key, value).await?;
        if outcome == DeleteOutcome::Deleted {
            let withdrawn = self.withdraw(key, value).await;
            if withdrawn.is_err() {
                self.withdraw_everywhere(key, value, ASSUMED_TTL);
            }
            withdrawn?;
            let after = self.get(key).await?.filter(|entry| entry.value != value);
            if after.is_some_and(|entry| Some(entry.revision) == before) {
                return Ok(DeleteOutcome::Different);
            }
        }
        Ok(outcome)
    }

    /// Answers when a majority of the members has; the others are asked again in the background.
    async fn withdraw(&self, key: &str, value: &str) -> Result<(), CacheError> {
        let mut answers = self.ask(|member| {
            let (key, value) = (key.to_owned(), value.to_owned());
            async move { member.withdraw(&key, &value).await }
        });
        let mut replies = Replies::of(self.members.len());
        while let Some((member, answer)) = answers.next().await {
            replies.add(member, answer);
            if replies.count(|()| true) >= replies.majority() {
                self.withdraw_from(key, value, &replies, answers, Result::is_err);
                return Ok(());
            }
        }
        Err(self.failure(&replies))
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, CacheError> {
        let mut answers = self.ask(|member| {
            let key = key.to_owned();
            async move { member.get(&key).await }
        });
        let mut replies = Replies::of(self.members.len());
        while let Some((member, answer)) = answers.next().await {
            replies.add(member, answer);
            if let Some(entry) = found(&replies) {
                return Ok(entry);
            }
        }
        Err(self.failure(&replies))
    }

    async fn announce_revocation(&self, key: &str, revision: u64) -> Result<(), CacheError> {
        let mut answers = self.ask(|member| {
            let key = key.to_owned();
            async move { member.announce_revocation(&key, revision).await }
        });
        // One of them is sufficient for callers that listen on all.
        while let Some((_, answer)) = answers.next().await {
            if answer.is_ok() {
                break;
            }
        }
        Ok(())
    }

    async fn listen_for_revocation(&self, key: &str, revision: u64) -> Option<Revocation> {
        let mut answers = self.ask(|member| {
            let key = key.to_owned();
            async move { Ok(member.listen_for_revocation(&key, revision).await) }
        });
        let mut revocations = Vec::new();
        while let Some((_, answer)) = answers.next().await {
            revocations.extend(answer.ok().flatten());
        }
        Some(Box::pin(poll_fn(move |context| {
            let polled = revocations.iter_mut().map(|revocation| revocation.as_mut().poll(context));
            polled.reduce(|one, other| if one.is_ready() { one } else { other }).unwrap_or(Poll::Pending)
        })))
    }

    async fn close(&self) {
        _ = timeout(self.timeout, async {
            self.tasks.close();
            self.tasks.wait().await;
        })
        .await;
    }

    async fn keys(&self) -> Result<Vec<String>, CacheError> {
        let mut answers = self.ask(|member| async move { member.keys().await });
        let mut replies = Replies::of(self.members.len());
        while let Some((member, answer)) = answers.next().await {
            replies.add(member, answer);
            // Any majority knows of every lock.
            if replies.count(|_| true) >= replies.majority() {
                let keys: BTreeSet<&String> = replies.answered().flat_map(|(_, keys)| keys).collect();
                return Ok(keys.into_iter().cloned().collect());
            }
        }
        Err(self.failure(&replies))
    }

    async fn check(&self) -> Vec<Finding> {
        self.findings().await
    }
}

impl Quorum {
    /// Returns when a majority of the members may have the key free, or when `wait` has passed.
    async fn watch(&self, key: &str, wait: Duration) {
        let mut watching = JoinSet::new();
        for member in &*self.members {
            let (member, key) = (member.store.clone(), key.to_owned());
            watching.spawn(async move { member.watch(&key, wait).await.is_ok() });
        }
        let mut missing = self.majority();
        let free = async {
            while let Some(free) = watching.join_next().await {
                missing -= usize::from(free.unwrap_or(false));
                if missing == 0 {
                    return;
                }
            }
            // Too few members answer. The next attempt reports why. The pause keeps attempts from following each other at once.
            sleep(self.timeout).await;
        };
        _ = timeout(wait, free).await;
    }

    fn split(&self) -> CacheError {
        let message = format!(
            "no caller had a majority of the {} caches within {:?}: several contend, or one went away; try again",
            self.members.len(),
            SPLIT_TIMEOUTS * self.timeout
        );
        CacheError::new(ErrorKind::Unavailable, message)
    }
}

/// What a majority of the members has so far, if that is certain.
fn found(replies: &Replies<Option<Entry>>) -> Option<Option<Entry>> {
    let values = by_value(replies.answered().filter_map(|(_, entry)| entry.as_ref()));
    let most = values.first().map_or(&[][..], |entries| &entries[..]);
    if let Some(entry) = of_majority(most, replies.majority()) {
        let revisions: Vec<_> = most.iter().map(|entry| entry.revision).collect();
        // If the fences differ, the other members may decide which one it is.
        let is_certain = revision_of_majority(&revisions, replies.majority()).is_some() || replies.open() == 0;
        return is_certain.then_some(Some(entry));
    }
    // A minority's value is no lock, unless the members that did not answer have it too.
    let possible = most.len() + replies.failed() + replies.open();
    (possible < replies.majority()).then_some(None)
}
