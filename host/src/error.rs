//! Why a [`Locker`](crate::Locker) gave no answer.

use std::fmt;

use crate::store::{CacheError, ErrorKind};

/// An error of a [`Locker`](crate::Locker): says which lock, what went wrong and what to do.
///
/// [`source`](std::error::Error::source) is the cache's own error where it was the cache that failed.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), locker_host::Error> {
/// use locker_host::{ErrorKind, Locker, Memory, LockOptions};
///
/// let locker = Locker::new(Memory::default())?;
/// let error = locker.lock("", LockOptions::default()).await.unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Invalid);
/// # Ok(())
/// # }
/// ```
pub struct Error(Box<Parts>);

struct Parts {
    kind: ErrorKind,
    lock: Option<String>,
    message: String,
    source: Option<Source>,
}

enum Source {
    Cache(CacheError),
    Sandbox(wasmtime::Error),
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Parts { kind, lock: None, message: message.into(), source: None }))
    }

    pub(crate) fn fault(message: &str, cause: wasmtime::Error) -> Self {
        Self::new(ErrorKind::Fault, format!("{message}: {}", cause.root_cause())).of_sandbox(cause)
    }

    pub(crate) fn of_sandbox(mut self, cause: wasmtime::Error) -> Self {
        self.0.source = Some(Source::Sandbox(cause));
        self
    }

    pub(crate) fn about(mut self, lock: &str) -> Self {
        self.0.lock = Some(lock.to_owned());
        self
    }

    pub(crate) fn caused_by(mut self, cause: Option<CacheError>) -> Self {
        // The contract with components has no such class, and calls it unavailable.
        if cause.as_ref().is_some_and(|cause| cause.kind() == ErrorKind::Expired) {
            self.0.kind = ErrorKind::Expired;
        }
        self.0.source = cause.map(Source::Cache);
        self
    }

    /// The class of the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The name of the lock that the operation was about, if it was about one.
    #[must_use]
    pub fn lock(&self) -> Option<&str> {
        self.0.lock.as_deref()
    }

    /// Whether a request to the cache may have taken effect.
    pub(crate) fn may_have_taken_effect(&self) -> bool {
        match &self.0.source {
            Some(Source::Cache(error)) => error.may_have_taken_effect(),
            _ => true,
        }
    }

    /// What went wrong, without the lock's name.
    pub(crate) fn message(&self) -> &str {
        &self.0.message
    }
}

/// The message for a grant that arrived too late. It names the cause and the remedy.
pub(crate) const GRANTED_TOO_LATE: &str = "it was granted, but its time to live was over or nearly over when the answer \
    arrived, and it was released again: ask for a time to live that is longer than the store takes to answer";

/// The same for a caller that chose its token, which can call again with it.
pub(crate) const GRANTED_TO_TOKEN_TOO_LATE: &str = "it was granted to the token, but its time to live was over or nearly over \
    when the answer arrived: call again with the token, and ask for a time to live that is longer than the store takes to answer";

/// The same for an extension.
pub(crate) const EXTENDED_TOO_LATE: &str = "it was extended, but the new time to live was over or nearly over when the answer \
    arrived: extend it to more than the time that the store takes to answer";

impl From<CacheError> for Error {
    fn from(error: CacheError) -> Self {
        Self::new(error.kind(), error.to_string()).caused_by(Some(error))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(lock) = self.lock() {
            // A name may come from an untrusted source: show it as one short, quoted word.
            let short: String = lock.chars().take(64).collect();
            let dots = if short.len() < lock.len() { "..." } else { "" };
            write!(f, "lock {short:?}{dots}: ")?;
        }
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self.0.source.as_ref()? {
            Source::Cache(error) => Some(error),
            Source::Sandbox(error) => Some(error.as_ref()),
        }
    }
}
