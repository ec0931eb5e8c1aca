//! Why a store gave no answer.

use std::fmt;
use std::time::Duration;

/// The classes of errors. They call for different answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The cache was not reached or did not answer in time. The operation may have taken effect; try again later.
    Unavailable,
    /// The host or the cache does not allow this. Nothing was changed, or the host undoes it; an operator must
    /// allow it.
    Denied,
    /// An argument is bad, or the key has a value that is not a lock. Nothing was changed, or the host undoes it; ask for
    /// something else.
    Invalid,
    /// The lock was granted or extended, but its lease was over, or had less time left than required, when the answer arrived. A
    /// lock that was granted was released again, unless the caller chose its token, and no work began; ask for a longer time to live.
    Expired,
    /// The component broke a limit of its sandbox, or the component cannot run at all. This is a bug.
    Fault,
}

impl ErrorKind {
    /// The class in a word: `unavailable`, `denied`, `invalid`, `expired` or `fault`.
    ///
    /// ```
    /// assert_eq!(locker_host::ErrorKind::Denied.name(), "denied");
    /// ```
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Denied => "denied",
            Self::Invalid => "invalid",
            Self::Expired => "expired",
            Self::Fault => "fault",
        }
    }
}

/// Why a [`Cache`](super::Cache) gave no answer.
///
/// ```
/// use locker_host::{CacheError, ErrorKind};
///
/// let error = CacheError::new(ErrorKind::Unavailable, "no answer from the store in 5 s");
/// assert_eq!(error.kind(), ErrorKind::Unavailable);
/// ```
#[derive(Debug)]
pub struct CacheError {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
    effect: Effect,
}

/// What is known of the effect of a request that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    /// No part of it was sent.
    Unsent,
    /// The class of the error says it.
    ByKind,
    /// An earlier part of it may have taken effect.
    Partial,
    /// The store refused it, since its value was withdrawn or was stored before.
    Withdrawn,
}

impl CacheError {
    /// An error that says in `message` what failed and what to do about it. It must hold no secrets.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None, effect: Effect::ByKind }
    }

    /// The store refuses a token for so long after a call with it was withdrawn.
    pub(super) fn withdrawn(refused_for: Duration) -> Self {
        let message = format!(
            "the request was withdrawn: an earlier call with this token failed, and the token is refused for up to {} s after that; call again then, or choose another token",
            refused_for.as_secs_f32().ceil()
        );
        Self { effect: Effect::Withdrawn, ..Self::new(ErrorKind::Unavailable, message) }
    }

    pub(super) fn is_withdrawn(&self) -> bool {
        self.effect == Effect::Withdrawn
    }

    /// Adds the error beneath this one.
    #[must_use]
    pub fn caused_by(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(Box::new(source));
        self
    }

    /// Says that no part of the request was sent, so there is nothing to undo.
    #[must_use]
    pub fn unsent(mut self) -> Self {
        self.effect = Effect::Unsent;
        self
    }

    /// Whether no part of the request was sent.
    #[must_use]
    pub fn is_unsent(&self) -> bool {
        self.effect == Effect::Unsent
    }

    /// Says that an earlier part of the request may have taken effect, whatever the class of the error is: a caller that waits may be in the
    /// queue.
    #[must_use]
    pub fn partial(mut self) -> Self {
        self.effect = Effect::Partial;
        self
    }

    /// Whether the request, or a part of it, may have taken effect.
    ///
    /// ```
    /// use locker_host::{CacheError, ErrorKind};
    ///
    /// let refused = CacheError::new(ErrorKind::Denied, "this user may not publish");
    /// assert!(!refused.may_have_taken_effect());
    /// assert!(refused.partial().may_have_taken_effect());
    /// ```
    #[must_use]
    pub fn may_have_taken_effect(&self) -> bool {
        match self.effect {
            Effect::Unsent => false,
            Effect::ByKind => !matches!(self.kind, ErrorKind::Denied | ErrorKind::Invalid),
            Effect::Partial | Effect::Withdrawn => true,
        }
    }

    /// The class of the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for CacheError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CacheError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| &**source as _)
    }
}
