//! A store that is wrong on purpose: what should be one step is two, and others come in between.

use std::ops::RangeInclusive;
use std::time::Duration;

use async_trait::async_trait;
use locker_host::cache::{DeleteOutcome, Entry, ExtendOutcome, SetOutcome, Vote, VoteOutcome};

use locker_host::{Cache, CacheError, Memory, QuorumMember};

/// What is torn apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tear {
    /// Looks whether the key is free, and then stores.
    Set,
    /// Looks whether the value is the right one, and then deletes whatever lies there.
    Delete,
}

pub(super) struct Torn {
    pub(super) memory: Memory,
    pub(super) tear: Tear,
}

/// So that others get their chance: several of them between two steps that should be one.
async fn pause(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

impl Torn {
    /// What lies there, as it was a moment ago.
    async fn look(&self, key: &str) -> Result<Option<Entry>, CacheError> {
        let entry = self.memory.get(key).await;
        pause(4).await;
        entry
    }

    async fn delete(&self, key: &str) -> Result<(), CacheError> {
        while let Some(entry) = self.memory.get(key).await? {
            self.memory.delete_if_equal(key, &entry.value).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Cache for Torn {
    async fn try_set(&self, key: &str, value: &str, ttl: Option<Duration>) -> Result<SetOutcome, CacheError> {
        pause(1).await;
        if self.tear == Tear::Set && self.look(key).await?.is_none() {
            self.delete(key).await?;
        }
        self.memory.try_set(key, value, ttl).await
    }

    async fn extend_if_equal(&self, key: &str, value: &str, ttl: Duration) -> Result<ExtendOutcome, CacheError> {
        self.memory.extend_if_equal(key, value, ttl).await
    }

    async fn replace_if_equal(
        &self,
        key: &str,
        value: &str,
        replacement: &str,
        ttl: Duration,
    ) -> Result<ExtendOutcome, CacheError> {
        self.memory.replace_if_equal(key, value, replacement, ttl).await
    }

    async fn delete_if_equal(&self, key: &str, value: &str) -> Result<DeleteOutcome, CacheError> {
        pause(1).await;
        if self.tear == Tear::Delete && self.look(key).await?.is_some_and(|entry| entry.value == value) {
            self.delete(key).await?;
            return Ok(DeleteOutcome::Deleted);
        }
        self.memory.delete_if_equal(key, value).await
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, CacheError> {
        pause(1).await;
        self.memory.get(key).await
    }
}

#[async_trait]
impl QuorumMember for Torn {
    async fn watch(&self, key: &str, timeout: Duration) -> Result<(), CacheError> {
        self.memory.watch(key, timeout).await
    }

    async fn vote(&self, key: &str, vote: Vote<'_>) -> Result<VoteOutcome, CacheError> {
        self.memory.vote(key, vote).await
    }

    async fn withdraw_vote(&self, key: &str, value: &str, votes: RangeInclusive<u64>) -> Result<(), CacheError> {
        self.memory.withdraw_vote(key, value, votes).await
    }

    async fn replace_vote(
        &self,
        key: &str,
        value: &str,
        replacement: &str,
        ttl: Duration,
    ) -> Result<ExtendOutcome, CacheError> {
        self.memory.replace_vote(key, value, replacement, ttl).await
    }

    async fn restore(&self, key: &str, value: &str, ttl: Duration, revision: u64) -> Result<SetOutcome, CacheError> {
        self.memory.restore(key, value, ttl, revision).await
    }
}
