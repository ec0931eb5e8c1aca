//! What one plugin may do with the locks of its host.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;

use crate::{Cache, CacheError, Delete, Entry, Error, ErrorKind, Extend, Set, Stored};

/// What one plugin may do with the locks of its host: a namespace of its own, and limits.
///
/// All of it is enforced on the cache, below everything that a plugin can bring along. What goes beyond is refused as
/// [`ErrorKind::Denied`], or as [`ErrorKind::Invalid`] if it is no name at all.
///
/// The lock `name` of the namespace `plugin` is the host's lock `plugin/name`. A namespace has no `/`, so no name leads
/// out of it. Plugins that are to share locks are given the same namespace.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), locker_host::Error> {
/// use std::time::Duration;
/// use locker_host::{Locker, Memory, Scope};
///
/// let locker = Locker::new(Memory::default())?;
/// let plugin = locker.plugin(Scope::new("reports")?.max_held(1));
/// let _lease = plugin.locker().lock("nightly", Duration::from_secs(30)).await?;
/// assert!(locker.inspect("reports/nightly").await?.is_some());
/// assert!(plugin.locker().lock("another", Duration::from_secs(30)).await.is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Scope {
    namespace: String,
    max_ttl: Duration,
    max_name: usize,
    max_held: usize,
    max_waiting: usize,
    max_requests: u32,
    denied: HashSet<Operation>,
}

/// What can be done with a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Taking it.
    Lock,
    /// Waiting for it.
    Wait,
    /// Giving it a new time to live.
    Extend,
    /// Releasing it.
    Unlock,
    /// Asking who holds it.
    Inspect,
}

impl Scope {
    /// A scope with a namespace of 1 to 64 letters, digits, `.`, `_` and `-`, and limits that suit a plugin that means well.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for any other namespace.
    pub fn new(namespace: impl Into<String>) -> Result<Self, Error> {
        let namespace = namespace.into();
        let fits = |char: char| char.is_ascii_alphanumeric() || "._-".contains(char);
        if !(1..=64).contains(&namespace.len()) || !namespace.chars().all(fits) {
            let message = "a namespace is 1 to 64 letters, digits, '.', '_' and '-'";
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        Ok(Self {
            namespace,
            max_ttl: Duration::from_secs(60 * 60),
            max_name: LONGEST_NAME,
            max_held: 64,
            max_waiting: 16,
            max_requests: 1000,
            denied: HashSet::new(),
        })
    }

    /// The longest time to live. An hour by default: what a plugin that vanished may cost the others.
    #[must_use]
    pub fn max_ttl(mut self, ttl: Duration) -> Self {
        self.max_ttl = ttl;
        self
    }

    /// The longest name, in bytes. By default what is left of 512, which no lock's name may exceed, after the namespace.
    #[must_use]
    pub fn max_name(mut self, bytes: usize) -> Self {
        self.max_name = bytes;
        self
    }

    /// How many locks it may hold at a time. 64 by default: more than one piece of work needs, and nothing to a store.
    #[must_use]
    pub fn max_held(mut self, locks: usize) -> Self {
        self.max_held = locks;
        self
    }

    /// How many of its calls may wait for a lock at a time. 16 by default: each of them holds an instance of the plugin, and
    /// may keep a connection to the store awake.
    #[must_use]
    pub fn max_waiting(mut self, calls: usize) -> Self {
        self.max_waiting = calls;
        self
    }

    /// How many requests to the store it may cause in a second, besides releasing what it holds. 1000 by default: more than
    /// a plugin needs that waits for its locks, and a few percent of what a store can answer.
    #[must_use]
    pub fn max_requests(mut self, a_second: u32) -> Self {
        self.max_requests = a_second;
        self
    }

    /// Does not allow an operation. All are allowed by default.
    #[must_use]
    pub fn deny(mut self, operation: Operation) -> Self {
        self.denied.insert(operation);
        self
    }

    /// The host's name for a lock of this scope.
    pub(crate) fn qualified(&self, name: &str) -> String {
        format!("{}/{name}", self.namespace)
    }

    fn allow(&self, operation: Operation) -> Result<(), CacheError> {
        if self.denied.contains(&operation) {
            return Err(refused(format!("this plugin's host does not allow it to {}", operation.verb())));
        }
        Ok(())
    }

    /// The key beneath, if the operation and the name are allowed.
    fn key(&self, operation: Operation, name: &str) -> Result<String, CacheError> {
        self.allow(operation)?;
        let most = self.max_name.min(LONGEST_NAME - self.qualified("").len());
        if name.is_empty() || name.len() > most || name.chars().any(char::is_control) {
            let message = format!("a lock's name is 1 to {most} bytes without control characters here");
            return Err(CacheError::new(ErrorKind::Invalid, message));
        }
        Ok(self.qualified(name))
    }

    fn ttl(&self, ttl: Duration) -> Result<Duration, CacheError> {
        if ttl > self.max_ttl || ttl.is_zero() {
            let message =
                format!("this plugin's host allows it a time to live of 1 ms to {:?}, not {ttl:?}", self.max_ttl);
            return Err(refused(message));
        }
        Ok(ttl)
    }
}

impl Operation {
    fn verb(self) -> &'static str {
        match self {
            Self::Lock => "take locks",
            Self::Wait => "wait for locks",
            Self::Extend => "extend locks",
            Self::Unlock => "release locks",
            Self::Inspect => "ask who holds locks",
        }
    }
}

fn refused(message: String) -> CacheError {
    CacheError::new(ErrorKind::Denied, message)
}

/// A cache as one instance of a plugin may use it.
pub(crate) struct Scoped {
    cache: Arc<dyn Cache>,
    scope: Scope,
    instance: u64,
    usage: Arc<Mutex<Usage>>,
}

#[derive(Default)]
struct Usage {
    /// What lies in the cache for this scope, or may do so.
    held: HashMap<(String, String), Held>,
    instances: u64,
    waiting: usize,
    /// Requests of the last second, more or less: they are forgotten at the rate at which they are allowed.
    requests: f64,
    counted: Option<Instant>,
}

/// A lock that is held.
struct Held {
    /// The instance that took it.
    by: u64,
    /// When it has expired.
    gone: Instant,
}

/// Being one of those who wait.
pub(crate) struct Waiting(Arc<Mutex<Usage>>);

/// What comes without a time to live is kept for this long, or for as long as is allowed.
const USUAL_TTL: Duration = Duration::from_secs(30);
/// What a lock's name may have in bytes, so that the host can speak of a plugin's locks too.
const LONGEST_NAME: usize = 512;
/// Longer than any token.
const MAX_VALUE: usize = 256;

impl Scoped {
    pub(crate) fn new(cache: Arc<dyn Cache>, scope: Scope) -> Self {
        Self { cache, scope, instance: 0, usage: Arc::default() }
    }

    /// The same for one more instance of the plugin.
    pub(crate) fn another_instance(&self) -> Self {
        let mut usage = lock(&self.usage);
        usage.instances += 1;
        let (cache, scope, instance) = (self.cache.clone(), self.scope.clone(), usage.instances);
        Self { cache, scope, instance, usage: self.usage.clone() }
    }

    pub(crate) fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Counts a call that waits.
    pub(crate) fn wait(&self) -> Result<Waiting, CacheError> {
        self.scope.allow(Operation::Wait)?;
        let mut usage = lock(&self.usage);
        if usage.waiting >= self.scope.max_waiting {
            return Err(refused(format!(
                "{} calls of this plugin wait for locks, and no more are allowed",
                usage.waiting
            )));
        }
        usage.waiting += 1;
        Ok(Waiting(self.usage.clone()))
    }

    /// Everything that this instance has stored and that may still be there.
    pub(crate) fn held(&self) -> Vec<(String, String)> {
        let mut usage = lock(&self.usage);
        usage.forget_expired();
        let ours = usage.held.iter().filter(|(_, held)| held.by == self.instance);
        ours.map(|(this, _)| this.clone()).collect()
    }

    /// Counts a request.
    fn request(&self) -> Result<(), CacheError> {
        let mut usage = lock(&self.usage);
        let (now, most) = (Instant::now(), f64::from(self.scope.max_requests));
        let since = usage.counted.replace(now).map_or(0.0, |counted| (now - counted).as_secs_f64());
        usage.requests = (usage.requests - since * most).max(0.0);
        if usage.requests + 1.0 > most {
            return Err(refused(format!("this plugin has made {most} requests in a second, and no more are allowed")));
        }
        usage.requests += 1.0;
        Ok(())
    }

    /// A time to live that is allowed, or the usual one.
    fn ttl(&self, ttl: Option<Duration>) -> Result<Duration, CacheError> {
        self.scope.ttl(ttl.unwrap_or_else(|| USUAL_TTL.min(self.scope.max_ttl)))
    }

    /// Counts a value that is about to be stored for `ttl`.
    fn hold(&self, name: &str, value: &str, ttl: Duration) -> Result<(), CacheError> {
        let mut usage = lock(&self.usage);
        usage.forget_expired();
        let this = (name.to_owned(), value.to_owned());
        if usage.held.len() >= self.scope.max_held && !usage.held.contains_key(&this) {
            let held = usage.held.len();
            return Err(refused(format!("this plugin holds {held} locks, and no more are allowed: release one first")));
        }
        usage.held.insert(this, Held { by: self.instance, gone: expiry(Instant::now(), ttl) });
        Ok(())
    }

    fn holds(&self, name: &str, value: &str) -> bool {
        lock(&self.usage).held.contains_key(&(name.to_owned(), value.to_owned()))
    }

    fn forget(&self, name: &str, value: &str) {
        lock(&self.usage).held.remove(&(name.to_owned(), value.to_owned()));
    }
}

impl Usage {
    fn forget_expired(&mut self) {
        let now = Instant::now();
        self.held.retain(|_, held| held.gone > now);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        lock(&self.0).waiting -= 1;
    }
}

fn expiry(since: Instant, ttl: Duration) -> Instant {
    since.checked_add(ttl).unwrap_or(since + USUAL_TTL)
}

fn lock(usage: &Mutex<Usage>) -> MutexGuard<'_, Usage> {
    usage.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Cache for Scoped {
    async fn set_if_absent(&self, name: &str, value: &str, ttl: Option<Duration>) -> Result<Set, CacheError> {
        let key = self.scope.key(Operation::Lock, name)?;
        let ttl = self.ttl(ttl)?;
        if value.len() > MAX_VALUE {
            return Err(CacheError::new(ErrorKind::Invalid, format!("a value is at most {MAX_VALUE} bytes")));
        }
        self.request()?;
        // Counted before it is stored: if this is dropped on the way, it may be there all the same.
        self.hold(name, value, ttl)?;
        let answer = self.cache.set_if_absent(&key, value, Some(ttl)).await;
        match &answer {
            Ok(Set::Stored(_)) => {}
            Err(error) if error.kind() == ErrorKind::Unavailable => {}
            Ok(Set::Occupied(_)) | Err(_) => self.forget(name, value),
        }
        answer
    }

    async fn extend_if_equal(&self, name: &str, value: &str, ttl: Duration) -> Result<Extend, CacheError> {
        let key = self.scope.key(Operation::Extend, name)?;
        let ttl = self.scope.ttl(ttl)?;
        self.request()?;
        let asked = Instant::now();
        let answer = self.cache.extend_if_equal(&key, value, ttl).await;
        if let Ok(Extend::Extended(_)) = answer {
            let mut usage = lock(&self.usage);
            // One that is not known was taken elsewhere, and the token handed over.
            let held = usage.held.entry((name.to_owned(), value.to_owned()));
            held.or_insert(Held { by: self.instance, gone: asked }).gone = expiry(asked, ttl);
        }
        answer
    }

    async fn delete_if_equal(&self, name: &str, value: &str) -> Result<Delete, CacheError> {
        let key = self.scope.key(Operation::Unlock, name)?;
        if !self.holds(name, value) {
            self.request()?;
        }
        let answer = self.cache.delete_if_equal(&key, value).await;
        if answer.is_ok() {
            self.forget(name, value);
        }
        answer
    }

    async fn get(&self, name: &str) -> Result<Option<Entry>, CacheError> {
        let key = self.scope.key(Operation::Inspect, name)?;
        self.request()?;
        self.cache.get(&key).await
    }

    async fn wait_until_absent(&self, name: &str, timeout: Duration) -> Result<(), CacheError> {
        let key = self.scope.key(Operation::Wait, name)?;
        self.request()?;
        self.cache.wait_until_absent(&key, timeout).await
    }

    async fn wait_to_set(
        &self,
        name: &str,
        value: &str,
        ttl: Option<Duration>,
        timeout: Duration,
    ) -> Result<Option<Stored>, CacheError> {
        let key = self.scope.key(Operation::Wait, name)?;
        let ttl = self.ttl(ttl)?;
        self.request()?;
        let stored = self.cache.wait_to_set(&key, value, Some(ttl), timeout).await?;
        if stored.is_some() {
            // Whoever waits holds nothing yet. If it is one too many now, it is given back.
            self.hold(name, value, ttl)?;
        }
        Ok(stored)
    }

    async fn leave(&self, name: &str, value: &str) -> Result<(), CacheError> {
        self.cache.leave(&self.scope.qualified(name), value).await
    }

    async fn keys(&self) -> Result<Vec<String>, CacheError> {
        self.scope.allow(Operation::Inspect)?;
        self.request()?;
        let namespace = self.scope.qualified("");
        let keys = self.cache.keys().await?;
        Ok(keys.iter().filter_map(|key| key.strip_prefix(&namespace)).map(str::to_owned).collect())
    }
}
