//! What one plugin may do with the locks of its host.

use std::collections::HashSet;
use std::time::Duration;

use crate::Error;
use crate::store::{CacheError, ErrorKind};

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
/// use locker_host::{Locker, LockerCtx, Memory, Scope};
///
/// let locker = Locker::new(Memory::default())?;
/// let plugin = LockerCtx::new(&locker, Scope::new("reports")?.max_locks(1));
/// let _lease = plugin.locker().lock("nightly", Duration::from_secs(30)).await?;
/// assert!(locker.inspect("reports/nightly").await?.is_some());
/// assert!(plugin.locker().lock("another", Duration::from_secs(30)).await.is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Scope {
    namespace: String,
    pub(crate) max_ttl: Duration,
    max_name: usize,
    pub(crate) max_locks: usize,
    pub(crate) max_waiters: usize,
    pub(crate) max_requests_per_second: u32,
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
    /// Completing the work under it, which keeps the lock taken for a time.
    Complete,
    /// Inspecting its holder.
    Inspect,
    /// Taking it from its holder without its token. A plugin that imports the cache itself is not bound by this: it sees the tokens of its
    /// namespace.
    Revoke,
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
            max_locks: 64,
            max_waiters: 16,
            max_requests_per_second: 1000,
            denied: HashSet::from([Operation::Revoke]),
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
    pub fn max_locks(mut self, locks: usize) -> Self {
        self.max_locks = locks;
        self
    }

    /// How many of its calls may wait for a lock at a time. 16 by default: each of them holds an instance of the plugin, and
    /// may keep a connection to the store awake.
    #[must_use]
    pub fn max_waiters(mut self, calls: usize) -> Self {
        self.max_waiters = calls;
        self
    }

    /// How many requests to the store it may cause in a second, besides releasing what it holds. 1000 by default: more than
    /// a plugin needs that waits for its locks, and a few percent of what a store can answer.
    #[must_use]
    pub fn max_requests_per_second(mut self, a_second: u32) -> Self {
        self.max_requests_per_second = a_second;
        self
    }

    /// Does not allow an operation. All but [`Operation::Revoke`] are allowed by default.
    #[must_use]
    pub fn deny(mut self, operation: Operation) -> Self {
        self.denied.insert(operation);
        self
    }

    /// Allows an operation.
    #[must_use]
    pub fn allow_operation(mut self, operation: Operation) -> Self {
        self.denied.remove(&operation);
        self
    }

    /// The host's name for a lock of this scope.
    pub(crate) fn qualified(&self, name: &str) -> String {
        format!("{}/{name}", self.namespace)
    }

    pub(crate) fn allow(&self, operation: Operation) -> Result<(), CacheError> {
        if self.denied.contains(&operation) {
            return Err(refused(format!("this plugin's host does not allow it to {}", operation.verb())));
        }
        Ok(())
    }

    /// The key beneath, if the operation and the name are allowed.
    pub(crate) fn key(&self, operation: Operation, name: &str) -> Result<String, CacheError> {
        self.allow(operation)?;
        let most = self.max_name.min(LONGEST_NAME - self.qualified("").len());
        if name.is_empty() || name.len() > most || name.chars().any(char::is_control) {
            let message = format!("a lock's name is 1 to {most} bytes without control characters here");
            return Err(CacheError::new(ErrorKind::Invalid, message));
        }
        Ok(self.qualified(name))
    }

    pub(crate) fn ttl(&self, ttl: Duration) -> Result<Duration, CacheError> {
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
            Self::Complete => "complete work under locks",
            Self::Inspect => "inspect locks",
            Self::Revoke => "revoke locks",
        }
    }
}

pub(crate) fn refused(message: String) -> CacheError {
    CacheError::new(ErrorKind::Denied, message)
}

/// The limit for a lock's name in bytes, so that the host can use the names of a plugin's locks too.
const LONGEST_NAME: usize = 512;
