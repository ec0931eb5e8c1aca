//! A store of its own for every test.

use std::time::Duration;

use locker_host::cache::Entry;

use locker_host::{Cache, Lease, Local, LockOptions, Locker, Redis};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::redis_server::key_of;
use super::{Command, QueuedMemory, RedisServer, Waiter, granted, until};

/// Which store a test runs on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Backend {
    Memory,
    Local,
    Redis,
}

/// A fresh store, and the locker of one host over it.
pub(crate) struct Store {
    pub(crate) locker: Locker,
    backend: RunningBackend,
}

enum RunningBackend {
    Memory(QueuedMemory),
    Local { local: Local, _folder: TempDir },
    Redis(RedisServer),
}

impl Backend {
    pub(crate) async fn start(self) -> Store {
        let backend = match self {
            Self::Memory => RunningBackend::Memory(QueuedMemory::default()),
            Self::Local => {
                let folder = tempfile::tempdir().unwrap();
                RunningBackend::Local { local: Local::open(folder.path()).unwrap(), _folder: folder }
            }
            Self::Redis => RunningBackend::Redis(RedisServer::start().await),
        };
        Store { locker: backend.locker(), backend }
    }
}

impl RunningBackend {
    fn locker(&self) -> Locker {
        match self {
            Self::Memory(memory) => Locker::new(memory.clone()),
            Self::Local { local, .. } => Locker::new(local.clone()),
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

    /// `locker` with these arguments, on this store.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        Command::new(arguments).env("LOCKER_CACHE", &self.name())
    }

    /// How the command line names this store.
    pub(crate) fn name(&self) -> String {
        match &self.backend {
            RunningBackend::Memory(_) => panic!("other processes do not share this memory"),
            RunningBackend::Local { local, .. } => format!("local:{}", local.path().display()),
            RunningBackend::Redis(server) => server.url(),
        }
    }

    /// How many calls are in the queue for a lock.
    pub(crate) async fn queued(&self, name: &str) -> u64 {
        match &self.backend {
            RunningBackend::Memory(memory) => memory.queued(name),
            RunningBackend::Local { local, .. } => local.queue_len(name).await.unwrap() as u64,
            RunningBackend::Redis(server) => server.run(&["ZCARD", &key_of("queue", name)]).await,
        }
    }

    /// A caller that waits for a lock, and is in its queue by now.
    pub(crate) async fn waiter(&self, locker: &Locker, name: &str, options: LockOptions) -> Waiter {
        let (locker, lock) = (locker.clone(), name.to_owned());
        self.queue(name, async move { locker.lock(&lock, options).await }).await
    }

    /// Starts a call, and waits until it is in the queue for a lock.
    pub(crate) async fn queue<T: Send + 'static>(
        &self,
        name: &str,
        call: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        let before = self.queued(name).await;
        let call = tokio::spawn(call);
        until(async || self.queued(name).await == before + 1).await;
        call
    }

    /// The store, without a locker before it.
    pub(crate) fn cache(&self) -> Box<dyn Cache> {
        match &self.backend {
            RunningBackend::Memory(memory) => Box::new(memory.clone()),
            RunningBackend::Local { local, .. } => Box::new(local.clone()),
            RunningBackend::Redis(server) => Box::new(Redis::open(&server.url()).unwrap()),
        }
    }
}
