//! The store that the commands share.

use std::time::Instant;

use super::bystander::Bystander;
use crate::harness::{Fault, Proxy, RedisServer};

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum CacheKind {
    /// A Redis server, each command through a proxy of its own
    Redis,
    /// The local store
    Local,
}

pub(super) enum Store {
    Redis(RedisServer),
    Local(Bystander),
}

/// How one command reaches the store.
pub(super) struct Link {
    pub(super) url: String,
    /// Ends with the link.
    _proxy: Option<Proxy>,
}

impl Store {
    pub(super) async fn start(kind: CacheKind) -> Self {
        match kind {
            CacheKind::Redis => Self::Redis(RedisServer::start().await),
            CacheKind::Local => Self::Local(Bystander::new()),
        }
    }

    pub(super) async fn link(&self, late: Option<Fault>) -> Link {
        match self {
            Self::Redis(server) => {
                let proxy = Proxy::start(server).await;
                if let Some(late) = late {
                    proxy.next(late);
                }
                Link { url: proxy.url(), _proxy: Some(proxy) }
            }
            Self::Local(bystander) => Link { url: bystander.url(), _proxy: None },
        }
    }

    /// Watches the store until the task is aborted.
    pub(super) async fn watch(&self) {
        if let Self::Local(bystander) = self {
            bystander.watch().await;
        }
    }

    pub(super) fn was_blocked_since(&self, started: Instant) -> bool {
        matches!(self, Self::Local(bystander) if bystander.was_blocked_since(started))
    }

    /// What is wrong with the store after all rounds.
    pub(super) async fn violation(&self) -> Option<String> {
        match self {
            Self::Redis(_) => None,
            Self::Local(bystander) => bystander.violation().await,
        }
    }
}
