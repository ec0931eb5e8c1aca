//! A part of a local store, which cannot be a member of a quorum.

use std::ops::RangeInclusive;
use std::time::Duration;

use async_trait::async_trait;
use locker_host::cache::{DeleteOutcome, Entry, ExtendOutcome, SetOutcome, Vote, VoteOutcome};
use locker_host::{Cache, CacheError, Local, QuorumMember};

#[derive(Clone)]
pub(super) struct Voteless {
    pub(super) local: Local,
    pub(super) prefix: String,
}

impl Voteless {
    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }
}

#[async_trait]
impl Cache for Voteless {
    async fn try_set(&self, key: &str, value: &str, ttl: Option<Duration>) -> Result<SetOutcome, CacheError> {
        self.local.try_set(&self.key(key), value, ttl).await
    }

    async fn set_if_absent(
        &self,
        key: &str,
        value: &str,
        ttl: Option<Duration>,
        wait: Duration,
    ) -> Result<SetOutcome, CacheError> {
        self.local.set_if_absent(&self.key(key), value, ttl, wait).await
    }

    async fn extend_if_equal(&self, key: &str, value: &str, ttl: Duration) -> Result<ExtendOutcome, CacheError> {
        self.local.extend_if_equal(&self.key(key), value, ttl).await
    }

    async fn replace_if_equal(
        &self,
        key: &str,
        value: &str,
        replacement: &str,
        ttl: Duration,
    ) -> Result<ExtendOutcome, CacheError> {
        self.local.replace_if_equal(&self.key(key), value, replacement, ttl).await
    }

    async fn delete_if_equal(&self, key: &str, value: &str) -> Result<DeleteOutcome, CacheError> {
        self.local.delete_if_equal(&self.key(key), value).await
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, CacheError> {
        self.local.get(&self.key(key)).await
    }
}

#[async_trait]
impl QuorumMember for Voteless {
    async fn watch(&self, _: &str, _: Duration) -> Result<(), CacheError> {
        unreachable!("no quorum has this member")
    }

    async fn vote(&self, _: &str, _: Vote<'_>) -> Result<VoteOutcome, CacheError> {
        unreachable!("no quorum has this member")
    }

    async fn withdraw_vote(&self, _: &str, _: &str, _: RangeInclusive<u64>) -> Result<(), CacheError> {
        unreachable!("no quorum has this member")
    }

    async fn replace_vote(&self, _: &str, _: &str, _: &str, _: Duration) -> Result<ExtendOutcome, CacheError> {
        unreachable!("no quorum has this member")
    }

    async fn restore(&self, _: &str, _: &str, _: Duration, _: u64) -> Result<SetOutcome, CacheError> {
        unreachable!("no quorum has this member")
    }
}
