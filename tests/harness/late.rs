//! A store whose answers come late when they are told to.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use locker_host::cache::{DeleteOutcome, Entry, ExtendOutcome, SetOutcome};

use locker_host::{Cache, CacheError, Locker, Memory};
use tokio::time::sleep;

use super::{Backend, Fault, Proxy, RedisServer};

/// A store, a locker whose next answer can be delayed, and one whose answers are never late.
pub(crate) struct LateStore {
    pub(crate) locker: Locker,
    pub(crate) other: Locker,
    answers: Answers,
}

enum Answers {
    Memory(LateMemory),
    Redis { _server: RedisServer, proxy: Proxy },
}

impl Backend {
    /// Starts a store that keeps locks for `default_ttl` if their callers do not say how long.
    pub(crate) async fn start_late(self, default_ttl: Duration) -> LateStore {
        match self {
            Self::Memory => {
                let memory = LateMemory { memory: Memory::new(default_ttl), delay: Arc::default() };
                let (locker, other) = (Locker::new(memory.clone()), Locker::new(memory.memory.clone()));
                LateStore { locker: locker.unwrap(), other: other.unwrap(), answers: Answers::Memory(memory) }
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
    /// Delays the next answer about the lock `job`, though the request is done at once.
    pub(crate) fn delay_answer(&self, time: Duration) {
        match &self.answers {
            Answers::Memory(memory) => *memory.delay.lock().unwrap() = Some(time),
            Answers::Redis { proxy, .. } => proxy.next(Fault::DelayAnswer("job", time)),
        }
    }

    pub(crate) async fn is_free(&self, name: &str) -> bool {
        self.other.inspect(name).await.unwrap().is_none()
    }
}

#[derive(Clone)]
struct LateMemory {
    memory: Memory,
    delay: Arc<Mutex<Option<Duration>>>,
}

impl LateMemory {
    async fn delay(&self) {
        let delay = self.delay.lock().unwrap().take();
        if let Some(delay) = delay {
            sleep(delay).await;
        }
    }
}

#[async_trait]
impl Cache for LateMemory {
    async fn try_set(&self, key: &str, value: &str, ttl: Option<Duration>) -> Result<SetOutcome, CacheError> {
        let answer = self.memory.try_set(key, value, ttl).await;
        self.delay().await;
        answer
    }

    async fn extend_if_equal(&self, key: &str, value: &str, ttl: Duration) -> Result<ExtendOutcome, CacheError> {
        let answer = self.memory.extend_if_equal(key, value, ttl).await;
        self.delay().await;
        answer
    }

    async fn delete_if_equal(&self, key: &str, value: &str) -> Result<DeleteOutcome, CacheError> {
        self.memory.delete_if_equal(key, value).await
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, CacheError> {
        self.memory.get(key).await
    }

    fn default_ttl(&self) -> Duration {
        self.memory.default_ttl()
    }
}
