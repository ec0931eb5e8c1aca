//! What the instances of a plugin do with locks, counted.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::scope::{Scope, refused};
use crate::store::CacheError;
use crate::time::{after, now};

/// The usage of one scope, shared by all instances of its plugin.
#[derive(Clone, Default)]
pub(crate) struct Usage(Arc<Mutex<Counters>>);

#[derive(Default)]
struct Counters {
    /// The values that the cache has or queues for this scope, or may have.
    locks: BTreeMap<(String, String), Lock>,
    instances: u64,
    waiters: usize,
    /// Requests of the last second, more or less: they are forgotten at the rate at which they are allowed.
    requests: f64,
    counted: Option<Instant>,
}

struct Lock {
    /// The instance that asked for it.
    instance: u64,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// A call waits for it in the queue. It does not expire, and is not held.
    Waiting,
    /// The cache may have it until this instant.
    Held(Instant),
}

/// A permit to wait, and the value that the call waits for. When it is dropped, the value may still be stored.
pub(crate) struct Waiter {
    usage: Usage,
    lock: (String, String),
    ttl: Duration,
}

impl Usage {
    pub(crate) fn new_instance(&self) -> u64 {
        let mut counters = self.counters();
        counters.instances += 1;
        counters.instances
    }

    /// Counts a request.
    pub(crate) fn request(&self, scope: &Scope) -> Result<(), CacheError> {
        let mut counters = self.counters();
        let (now, most) = (now(), f64::from(scope.max_requests_per_second));
        let since = counters.counted.replace(now).map_or(0.0, |counted| (now - counted).as_secs_f64());
        counters.requests = (counters.requests - since * most).max(0.0);
        if counters.requests + 1.0 > most {
            return Err(refused(format!("this plugin has made {most} requests in a second, and no more are allowed")));
        }
        counters.requests += 1.0;
        Ok(())
    }

    /// Counts a call that waits for a value.
    pub(crate) fn wait(
        &self,
        scope: &Scope,
        instance: u64,
        name: &str,
        value: &str,
        ttl: Duration,
    ) -> Result<Waiter, CacheError> {
        let mut counters = self.counters();
        counters.forget_expired();
        let (waiters, known) = (counters.waiters, counters.locks.len());
        if waiters >= scope.max_waiters {
            return Err(refused(format!("{waiters} calls of this plugin wait for locks, and no more are allowed")));
        }
        // The cache may have the values of waits that failed. Without this limit an outage would let them pile up.
        if known >= scope.max_locks.saturating_add(scope.max_waiters) {
            return Err(refused(format!("this plugin has or waits for {known} locks, and no more are allowed")));
        }
        counters.waiters += 1;
        let lock = (name.to_owned(), value.to_owned());
        counters.locks.entry(lock.clone()).or_insert(Lock { instance, state: State::Waiting });
        Ok(Waiter { usage: self.clone(), lock, ttl })
    }

    /// Counts a value that the cache has until `expires`, or may have.
    pub(crate) fn hold(
        &self,
        scope: &Scope,
        instance: u64,
        name: &str,
        value: &str,
        expires: Instant,
    ) -> Result<(), CacheError> {
        let mut counters = self.counters();
        counters.forget_expired();
        let lock = (name.to_owned(), value.to_owned());
        let held = counters.held(&lock);
        if held >= scope.max_locks {
            return Err(refused(format!("this plugin holds {held} locks, and no more are allowed: release one first")));
        }
        counters.locks.insert(lock, Lock { instance, state: State::Held(expires) });
        Ok(())
    }

    /// Notes that the cache has a value until `expires`. One that is not known was taken elsewhere, and the token handed over.
    pub(crate) fn extend(&self, instance: u64, name: &str, value: &str, expires: Instant) {
        let (mut counters, lock) = (self.counters(), (name.to_owned(), value.to_owned()));
        counters.locks.entry(lock).or_insert(Lock { instance, state: State::Waiting }).state = State::Held(expires);
    }

    pub(crate) fn knows(&self, name: &str, value: &str) -> bool {
        self.counters().locks.contains_key(&(name.to_owned(), value.to_owned()))
    }

    pub(crate) fn forget(&self, name: &str, value: &str) {
        self.counters().locks.remove(&(name.to_owned(), value.to_owned()));
    }

    /// The names and values that an instance has, or waits for.
    pub(crate) fn of_instance(&self, instance: u64) -> Vec<(String, String)> {
        let mut counters = self.counters();
        counters.forget_expired();
        let ours = counters.locks.iter().filter(|(_, lock)| lock.instance == instance);
        ours.map(|(lock, _)| lock.clone()).collect()
    }

    fn counters(&self) -> MutexGuard<'_, Counters> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counters {
    fn forget_expired(&mut self) {
        let now = now();
        self.locks.retain(|_, lock| !matches!(lock.state, State::Held(expires) if expires <= now));
    }

    /// How many locks are held besides this one.
    fn held(&self, besides: &(String, String)) -> usize {
        self.locks.iter().filter(|(key, lock)| *key != besides && lock.state != State::Waiting).count()
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut counters = self.usage.counters();
        counters.waiters -= 1;
        if let Some(lock) = counters.locks.get_mut(&self.lock)
            && lock.state == State::Waiting
        {
            // The call has failed or was cancelled.
            lock.state = State::Held(expiry(self.ttl));
        }
    }
}

/// When a value has expired that is stored now.
pub(crate) fn expiry(ttl: Duration) -> Instant {
    after(now(), ttl)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn scope() -> Scope {
        Scope::new("test").unwrap().max_locks(1).max_waiters(2)
    }

    #[test]
    fn a_waiter_holds_nothing_and_gives_its_permit_back() {
        let (usage, scope) = (Usage::default(), scope());
        let waiters = ["a", "b"].map(|name| usage.wait(&scope, 0, name, "value", LONG).unwrap());
        assert!(usage.wait(&scope, 0, "c", "value", LONG).is_err());
        usage.hold(&scope, 0, "d", "value", expiry(LONG)).unwrap();
        assert_eq!(usage.of_instance(0).len(), 3);
        ["a", "b"].iter().for_each(|name| usage.forget(name, "value"));
        drop(waiters);
        assert_eq!(usage.counters().waiters, 0);
        assert_eq!(usage.of_instance(0).len(), 1);
    }

    #[test]
    fn a_wait_that_failed_counts_as_held_until_it_would_have_expired() {
        let (usage, scope) = (Usage::default(), scope());
        drop(usage.wait(&scope, 0, "a", "value", LONG).unwrap());
        assert!(usage.hold(&scope, 0, "b", "value", expiry(LONG)).is_err());
        drop(usage.wait(&scope, 0, "a", "value", Duration::ZERO).unwrap());
        assert!(usage.knows("a", "value"), "a repeated request must not shorten it");
    }

    #[test]
    fn waits_that_fail_do_not_pile_up() {
        let (usage, scope) = (Usage::default(), scope());
        let failed = (0..10).filter_map(|n: u32| usage.wait(&scope, 0, &n.to_string(), "value", LONG).ok()).count();
        assert_eq!(failed, 3);
        assert_eq!(usage.counters().locks.len(), 3);
    }
}
