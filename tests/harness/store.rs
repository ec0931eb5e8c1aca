//! A store of its own for every test.

use std::time::Duration;

use locker_host::{Cache, Entry, Lease, LockOptions, Locker, Memory, Redis};

use super::{RedisServer, granted};

/// Which store a test runs on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum On {
    Memory,
    Redis,
}

/// A fresh store, and the locker of one host over it.
pub(crate) struct Store {
    pub(crate) locker: Locker,
    backend: Backend,
}

enum Backend {
    Memory(Memory),
    Redis(RedisServer),
}

impl On {
    pub(crate) async fn start(self) -> Store {
        let backend = match self {
            Self::Memory => Backend::Memory(Memory::default()),
            Self::Redis => Backend::Redis(RedisServer::start().await),
        };
        Store { locker: backend.locker(), backend }
    }
}

impl Backend {
    fn locker(&self) -> Locker {
        match self {
            Self::Memory(memory) => Locker::new(memory.clone()),
            Self::Redis(server) => Locker::new(Redis::open(&server.url()).unwrap()),
        }
        .unwrap()
    }
}

impl Store {
    /// The locker of another host that shares the store.
    pub(crate) fn another_host(&self) -> Locker {
        self.backend.locker()
    }

    /// Takes a lock that must be free.
    pub(crate) async fn take(&self, name: &str, options: impl Into<LockOptions>) -> Lease {
        granted(self.locker.lock(name, options).await)
    }

    /// What lies in the store under a lock's name.
    pub(crate) async fn entry(&self, name: &str) -> Option<Entry> {
        self.cache().get(name).await.unwrap()
    }

    /// What is left of a lock's time according to the store.
    pub(crate) async fn left(&self, name: &str) -> Duration {
        self.entry(name).await.expect("the lock is held").ttl.expect("the lock expires")
    }

    fn cache(&self) -> Box<dyn Cache> {
        match &self.backend {
            Backend::Memory(memory) => Box::new(memory.clone()),
            Backend::Redis(server) => Box::new(Redis::open(&server.url()).unwrap()),
        }
    }
}
