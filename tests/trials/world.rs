//! The members of a trial, and their callers.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use locker_host::{Locker, Quorum, QuorumMember};

use crate::harness::{Distant, RedisServer, until};

pub(super) struct World {
    pub(super) servers: Vec<RedisServer>,
}

impl World {
    pub(super) async fn start() -> Self {
        let mut servers = Vec::new();
        for _ in 0..3 {
            servers.push(RedisServer::start().await);
        }
        Self { servers }
    }

    /// The members as one caller reaches them, with connections of its own.
    pub(super) fn members(&self, latency: Range<Duration>) -> Vec<Arc<Distant>> {
        self.servers.iter().map(|server| Distant::new(server.redis(), latency.clone())).collect()
    }

    /// A caller that reaches the members without a delay.
    pub(super) fn caller(&self) -> Locker {
        locker(&self.members(NO_LATENCY))
    }

    /// Waits until the last member has the lock, too: a grant does not wait for it.
    pub(super) async fn all_have(&self, name: &str) {
        until(async || self.stored(name).await.iter().all(Option::is_some)).await;
    }

    /// What each member has under a lock's name: value and fence.
    pub(super) async fn stored(&self, name: &str) -> Vec<Option<(String, u64)>> {
        let mut stored = Vec::new();
        for server in &self.servers {
            stored.push(server.stored(name).await);
        }
        stored
    }
}

pub(super) const NO_LATENCY: Range<Duration> = Duration::ZERO..Duration::ZERO;

pub(super) fn quorum(members: &[Arc<Distant>]) -> Quorum {
    Quorum::new(members.iter().map(|member| member.clone() as Arc<dyn QuorumMember>).collect()).unwrap()
}

pub(super) fn locker(members: &[Arc<Distant>]) -> Locker {
    Locker::new(quorum(members)).unwrap()
}
