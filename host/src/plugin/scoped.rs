//! A cache within the limits of a scope.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::scope::{Operation, Scope};
use super::usage::{Usage, expiry};
use crate::store::{Cache, CacheError, DeleteOutcome, Entry, ErrorKind, ExtendOutcome, Revocation, SetOutcome, Stored};

/// A cache as one instance of a plugin may use it. All limits of its scope are enforced here.
pub(crate) struct Scoped {
    cache: Arc<dyn Cache>,
    scope: Scope,
    instance: u64,
    usage: Usage,
}

/// The time to live of a value that comes without one, as far as it is allowed.
const DEFAULT_TTL: Duration = Duration::from_secs(30);
/// Longer than any token.
const MAX_VALUE: usize = 256;

impl Scoped {
    pub(crate) fn new(cache: Arc<dyn Cache>, scope: Scope) -> Self {
        Self { cache, scope, instance: 0, usage: Usage::default() }
    }

    /// The same for one more instance of the plugin.
    pub(crate) fn new_instance(&self) -> Self {
        let (cache, scope, usage) = (self.cache.clone(), self.scope.clone(), self.usage.clone());
        Self { cache, scope, instance: usage.new_instance(), usage }
    }

    /// Whether the plugin may do this. For what the cache cannot tell from other operations.
    pub(crate) fn allow(&self, operation: Operation) -> Result<(), CacheError> {
        self.scope.allow(operation)
    }

    /// Releases every lock that this instance took, and removes its calls from the queues. Answers how many locks it held.
    pub(crate) async fn release_all(&self) -> usize {
        let mut released = 0;
        for (name, value) in self.usage.of_instance(self.instance) {
            // Not through the scope, which may not allow this to the plugin.
            match self.cache.delete_if_equal(&self.scope.qualified(&name), &value).await {
                Ok(DeleteOutcome::Deleted) => {
                    released += 1;
                    self.usage.forget(&name, &value);
                }
                // It may be in the queue. If this fails, the clean-up of the call that waits repeats it.
                Ok(DeleteOutcome::Absent | DeleteOutcome::Different) => _ = self.withdraw(&name, &value).await,
                Err(_) => {}
            }
        }
        released
    }

    /// A time to live that is allowed, or the default.
    fn ttl(&self, ttl: Option<Duration>) -> Result<Duration, CacheError> {
        self.scope.ttl(ttl.unwrap_or_else(|| self.default_ttl()))
    }

    /// Makes one attempt. The value is counted before: if this is cancelled, the cache may have it.
    async fn attempt(&self, key: &str, name: &str, value: &str, ttl: Duration) -> Result<SetOutcome, CacheError> {
        self.usage.hold(&self.scope, self.instance, name, value, expiry(ttl))?;
        let answer = self.cache.try_set(key, value, Some(ttl)).await;
        self.settle(name, value, answer).await
    }

    async fn wait(
        &self,
        key: &str,
        name: &str,
        value: &str,
        ttl: Duration,
        wait: Duration,
    ) -> Result<SetOutcome, CacheError> {
        let _waiter = self.usage.wait(&self.scope, self.instance, name, value, ttl)?;
        let answer = self.cache.set_if_absent(key, value, Some(ttl), wait).await;
        self.settle(name, value, answer).await
    }

    /// Counts what became of a value. After an error that leaves this open, it stays counted.
    async fn settle(
        &self,
        name: &str,
        value: &str,
        answer: Result<SetOutcome, CacheError>,
    ) -> Result<SetOutcome, CacheError> {
        match &answer {
            Ok(SetOutcome::Stored(stored)) => self.keep(name, value, *stored).await?,
            Err(error) if !matches!(error.kind(), ErrorKind::Denied | ErrorKind::Invalid) => {}
            Ok(SetOutcome::Occupied(_)) | Err(_) => self.usage.forget(name, value),
        }
        answer
    }

    fn key_to_delete(&self, name: &str, value: &str) -> Result<String, CacheError> {
        let key = self.scope.key(Operation::Unlock, name)?;
        if !self.usage.knows(name, value) {
            self.usage.request(&self.scope)?;
        }
        Ok(key)
    }

    fn deleted(
        &self,
        name: &str,
        value: &str,
        answer: Result<DeleteOutcome, CacheError>,
    ) -> Result<DeleteOutcome, CacheError> {
        if answer.is_ok() {
            self.usage.forget(name, value);
        }
        answer
    }

    /// Counts a value that is stored, or withdraws it if it is one too many.
    async fn keep(&self, name: &str, value: &str, stored: Stored) -> Result<(), CacheError> {
        let kept = self.usage.hold(&self.scope, self.instance, name, value, stored.deadline);
        if kept.is_err() {
            self.withdraw(name, value).await?;
        }
        kept
    }
}

fn check_value(value: &str) -> Result<(), CacheError> {
    if value.len() > MAX_VALUE {
        return Err(CacheError::new(ErrorKind::Invalid, format!("a value is at most {MAX_VALUE} bytes")));
    }
    Ok(())
}

#[async_trait]
impl Cache for Scoped {
    async fn try_set(&self, name: &str, value: &str, ttl: Option<Duration>) -> Result<SetOutcome, CacheError> {
        self.set_if_absent(name, value, ttl, Duration::ZERO).await
    }

    async fn set_if_absent(
        &self,
        name: &str,
        value: &str,
        ttl: Option<Duration>,
        wait: Duration,
    ) -> Result<SetOutcome, CacheError> {
        let key = self.scope.key(Operation::Lock, name)?;
        let ttl = self.ttl(ttl)?;
        check_value(value)?;
        if !wait.is_zero() {
            self.scope.allow(Operation::Wait)?;
        }
        self.usage.request(&self.scope)?;
        if wait.is_zero() {
            self.attempt(&key, name, value, ttl).await
        } else {
            self.wait(&key, name, value, ttl, wait).await
        }
    }

    fn default_ttl(&self) -> Duration {
        DEFAULT_TTL.min(self.scope.max_ttl)
    }

    fn is_fifo(&self) -> bool {
        self.cache.is_fifo()
    }

    async fn extend_if_equal(&self, name: &str, value: &str, ttl: Duration) -> Result<ExtendOutcome, CacheError> {
        let key = self.scope.key(Operation::Extend, name)?;
        let ttl = self.scope.ttl(ttl)?;
        self.usage.request(&self.scope)?;
        let answer = self.cache.extend_if_equal(&key, value, ttl).await;
        if let Ok(ExtendOutcome::Extended(stored)) = answer {
            self.usage.extend(self.instance, name, value, stored.deadline);
        }
        answer
    }

    async fn replace_if_equal(
        &self,
        name: &str,
        value: &str,
        replacement: &str,
        ttl: Duration,
    ) -> Result<ExtendOutcome, CacheError> {
        let key = self.scope.key(Operation::Complete, name)?;
        let ttl = self.scope.ttl(ttl)?;
        check_value(replacement)?;
        self.usage.request(&self.scope)?;
        let answer = self.cache.replace_if_equal(&key, value, replacement, ttl).await;
        if answer.is_ok() {
            self.usage.forget(name, value);
        }
        answer
    }

    async fn delete_if_equal(&self, name: &str, value: &str) -> Result<DeleteOutcome, CacheError> {
        let key = self.key_to_delete(name, value)?;
        self.deleted(name, value, self.cache.delete_if_equal(&key, value).await)
    }

    async fn revoke_if_equal(&self, name: &str, value: &str) -> Result<DeleteOutcome, CacheError> {
        let key = self.key_to_delete(name, value)?;
        self.deleted(name, value, self.cache.revoke_if_equal(&key, value).await)
    }

    /// The host's own clean-up: it is always allowed.
    async fn withdraw(&self, name: &str, value: &str) -> Result<(), CacheError> {
        let answer = self.cache.withdraw(&self.scope.qualified(name), value).await;
        if answer.is_ok() {
            self.usage.forget(name, value);
        }
        answer
    }

    async fn get(&self, name: &str) -> Result<Option<Entry>, CacheError> {
        let key = self.scope.key(Operation::Inspect, name)?;
        self.usage.request(&self.scope)?;
        self.cache.get(&key).await
    }

    async fn announce_revocation(&self, name: &str, revision: u64) -> Result<(), CacheError> {
        self.cache.announce_revocation(&self.scope.qualified(name), revision).await
    }

    async fn listen_for_revocation(&self, name: &str, revision: u64) -> Option<Revocation> {
        self.cache.listen_for_revocation(&self.scope.qualified(name), revision).await
    }

    async fn keys(&self) -> Result<Vec<String>, CacheError> {
        self.scope.allow(Operation::Inspect)?;
        self.usage.request(&self.scope)?;
        let namespace = self.scope.qualified("");
        let keys = self.cache.keys().await?;
        Ok(keys.iter().filter_map(|key| key.strip_prefix(&namespace)).map(str::to_owned).collect())
    }
}
