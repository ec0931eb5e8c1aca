//! A link as a member of a quorum.

use std::ops::RangeInclusive;
use std::time::Duration;

use async_trait::async_trait;
use locker_host::cache::{DeleteOutcome, Entry, ExtendOutcome, SetOutcome, Stored, Vote, VoteOutcome};
use locker_host::{Cache, CacheError, ErrorKind, QuorumMember};
use tokio::time::{Instant, sleep, timeout};

use super::link::Link;
use super::request::{Reply, Request};

#[async_trait]
impl Cache for Link {
    async fn try_set(&self, _: &str, _: &str, _: Option<Duration>) -> Result<SetOutcome, CacheError> {
        Err(CacheError::new(ErrorKind::Denied, "a quorum votes"))
    }

    async fn extend_if_equal(&self, key: &str, value: &str, ttl: Duration) -> Result<ExtendOutcome, CacheError> {
        let ttl_ms = millis(ttl);
        match self.ask(Request::Extend { key: key.to_owned(), value: value.to_owned(), ttl_ms }).await? {
            (sent, Reply::Extended { revision }) => Ok(ExtendOutcome::Extended(stored(sent, revision, ttl_ms))),
            (_, Reply::Absent) => Ok(ExtendOutcome::Absent),
            (_, Reply::Different) => Ok(ExtendOutcome::Different),
            (_, other) => Err(unexpected(&other)),
        }
    }

    async fn delete_if_equal(&self, key: &str, value: &str) -> Result<DeleteOutcome, CacheError> {
        match self.ask(Request::Delete { key: key.to_owned(), value: value.to_owned() }).await?.1 {
            Reply::Deleted => Ok(DeleteOutcome::Deleted),
            Reply::Absent => Ok(DeleteOutcome::Absent),
            Reply::Different => Ok(DeleteOutcome::Different),
            other => Err(unexpected(&other)),
        }
    }

    async fn withdraw(&self, key: &str, value: &str) -> Result<(), CacheError> {
        self.ask(Request::Withdraw { key: key.to_owned(), value: value.to_owned() }).await.map(|_| ())
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, CacheError> {
        match self.ask(Request::Get { key: key.to_owned() }).await?.1 {
            Reply::Found(entry) => Ok(entry),
            other => Err(unexpected(&other)),
        }
    }

    async fn keys(&self) -> Result<Vec<String>, CacheError> {
        match self.ask(Request::Keys).await?.1 {
            Reply::Keys(keys) => Ok(keys),
            other => Err(unexpected(&other)),
        }
    }
}

#[async_trait]
impl QuorumMember for Link {
    /// Returns when the member says that the key is free. Its message comes with the delay of a request, and a member that goes away breaks
    /// the connection.
    async fn watch(&self, key: &str, limit: Duration) -> Result<(), CacheError> {
        self.ask(Request::Get { key: key.to_owned() }).await?;
        match timeout(limit, self.is_free(key)).await {
            Ok(false) => Err(CacheError::new(ErrorKind::Unavailable, "the connection broke")),
            Ok(true) | Err(_) => Ok(()),
        }
    }

    async fn vote(&self, key: &str, vote: Vote<'_>) -> Result<VoteOutcome, CacheError> {
        let Vote { value, ttl, revision, since } = vote;
        let (key, value, ttl_ms) = (key.to_owned(), value.to_owned(), millis(ttl));
        match self.ask(Request::Vote { key, value, ttl_ms, revision, since }).await? {
            (sent, Reply::Stored { revision, left_ms }) => Ok(VoteOutcome::Stored(stored(sent, revision, left_ms))),
            (_, Reply::Occupied(entry)) => Ok(VoteOutcome::Occupied(entry)),
            (_, Reply::Outdated(last)) => Ok(VoteOutcome::Outdated(last)),
            (_, other) => Err(unexpected(&other)),
        }
    }

    async fn withdraw_vote(&self, key: &str, value: &str, revisions: RangeInclusive<u64>) -> Result<(), CacheError> {
        self.ask(Request::WithdrawVote { key: key.to_owned(), value: value.to_owned(), revisions }).await.map(|_| ())
    }

    async fn restore(&self, key: &str, value: &str, ttl: Duration, revision: u64) -> Result<SetOutcome, CacheError> {
        let (key, value, ttl_ms) = (key.to_owned(), value.to_owned(), millis(ttl));
        match self.ask(Request::Restore { key, value, ttl_ms, revision }).await? {
            (sent, Reply::Stored { revision, left_ms }) => Ok(SetOutcome::Stored(stored(sent, revision, left_ms))),
            (_, Reply::Occupied(entry)) => Ok(SetOutcome::Occupied(entry)),
            (_, other) => Err(unexpected(&other)),
        }
    }
}

impl Link {
    /// Returns whether the key is free or the connection broke, as soon as one of them is so.
    async fn is_free(&self, key: &str) -> bool {
        loop {
            let now = self.world.now();
            let (changed, starts, expires) = {
                let server = &self.world.state().servers[self.member];
                if server.down > 0 {
                    return false;
                }
                let Some(slot) = server.slot(key, now) else { return true };
                let left = server.real(slot.expires - server.time(now));
                (server.changed.clone().notified_owned(), server.starts, left)
            };
            _ = timeout(expires, changed).await;
            let delay = self.world.link(self.process, self.member, |rng| rng.u64(0..=self.world.plan.link.latency_ms));
            sleep(Duration::from_millis(delay)).await;
            if self.is_partitioned() || self.world.state().servers[self.member].starts != starts {
                return false;
            }
        }
    }
}

fn stored(sent: Instant, revision: u64, left_ms: u64) -> Stored {
    Stored { revision, deadline: (sent + Duration::from_millis(left_ms)).into_std() }
}

/// Rounded down, so that no caller counts on more than it asked for.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn unexpected(reply: &Reply) -> CacheError {
    CacheError::new(ErrorKind::Fault, format!("an unexpected answer: {reply}"))
}
