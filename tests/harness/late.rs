//! A store whose answers come late when they are told to.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use locker_host::cache::{DeleteOutcome, Entry, ExtendOutcome, SetOutcome};

use locker_host::{Cache, CacheError, Local, Locker, Memory};
use tempfile::TempDir;
use tokio::time::sleep;

use super::{Backend, Fault, Proxy, RedisServer};

/// A store, a locker whose next answer can be delayed, and one whose answers are never late.
pub(crate) struct LateStore {
    pub(crate) locker: Locker,
    pub(crate) other: Locker,
    answers: Answers,
}

enum Answers {
    Here { cache: LateCache, _folder: Option<TempDir> },
    Redis { _server: RedisServer, proxy: Proxy },
}

impl Backend {
    /// Starts a store that keeps locks for `default_ttl` if their callers do not say how long.
    pub(crate) async fn start_late(self, default_ttl: Duration) -> LateStore {
        match self {
            Self::Memory => {
                let memory = Memory::new(default_ttl);
                LateStore::over(memory.clone(), Locker::new(memory).unwrap(), None)
            }
            Self::Local => {
                let folder = tempfile::tempdir().unwrap();
                let local = Local::open(folder.path()).unwrap().default_ttl(default_ttl);
                LateStore::over(local.clone(), Locker::new(local).unwrap(), Some(folder))
            }
            Self::Redis => {
                let server = RedisServer::start().await;
                let proxy = Proxy::start(&server).await;
                let locker = Locker::new(proxy.redis().default_ttl(default_ttl)).unwrap();
                // The scripts are known to the server from here on, so that what is late is the step itself.
                let lease = locker.lock("warm", default_ttl).await.unwrap().granted().unwrap();
                _ = locker.extend("warm", &lease.token, default_ttl).await.unwrap();
                locker.unlock("warm", &lease.token).await.unwrap();
                LateStore { locker, other: server.locker(), answers: Answers::Redis { _server: server, proxy } }
            }
        }
    }
}

impl LateStore {
    fn over(cache: impl Cache, other: Locker, _folder: Option<TempDir>) -> Self {
        let cache = LateCache { cache: Arc::new(cache), delay: Arc::default() };
        Self { locker: Locker::new(cache.clone()).unwrap(), other, answers: Answers::Here { cache, _folder } }
    }

    /// Delays the next answer about the lock `job`, though the request is done at once.
    pub(crate) fn delay_answer(&self, time: Duration) {
        match &self.answers {
            Answers::Here { cache, .. } => *cache.delay.lock().unwrap() = Some(time),
            Answers::Redis { proxy, .. } => proxy.next(Fault::DelayAnswer("job", time)),
        }
    }

    pub(crate) async fn is_free(&self, name: &str) -> bool {
        self.other.inspect(name).await.unwrap().is_none()
    }
}

#[derive(Clone)]
struct LateCache {
    cache: Arc<dyn Cache>,
    delay: Arc<Mutex<Option<Duration>>>,
}

impl LateCache {
    async fn delay(&self) {
        let delay = self.delay.lock().unwrap().take();
        if let Some(delay) = delay {
            sleep(delay).await;
        }
    }
}

#[async_trait]
impl Cache for LateCache {
    async fn try_set(&self, key: &str, value: &str, ttl: Option<Duration>) -> Result<SetOutcome, CacheError> {
        let answer = self.cache.try_set(key, value, ttl).await;
        self.delay().await;
        answer
    }

    async fn extend_if_equal(&self, key: &str, value: &str, ttl: Duration) -> Result<ExtendOutcome, CacheError> {
        let answer = self.cache.extend_if_equal(key, value, ttl).await;
        self.delay().await;
        answer
    }

    async fn replace_if_equal(
        &self,
        key: &str,
        value: &str,
        replacement: &str,
        ttl: Duration,
    ) -> Result<ExtendOutcome, CacheError> {
        self.cache.replace_if_equal(key, value, replacement, ttl).await
    }

    async fn delete_if_equal(&self, key: &str, value: &str) -> Result<DeleteOutcome, CacheError> {
        self.cache.delete_if_equal(key, value).await
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, CacheError> {
        self.cache.get(key).await
    }

    fn default_ttl(&self) -> Duration {
        self.cache.default_ttl()
    }
}
