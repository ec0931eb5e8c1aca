//! The reasons for losing a lock.

use std::fmt;
use std::sync::Arc;

use crate::Error;

/// Why a lock that was held is no longer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum LostReason {
    /// The cache does not have it: it was released with the token elsewhere, deleted, or lost by the server. A server that lost it may have
    /// granted it to the token again, with another fence.
    Absent,
    /// Another token holds it.
    HeldByOther,
    /// It was [revoked](crate::Locker::revoke).
    Revoked,
    /// It could not be renewed in time. The last attempt failed with this error; there is none if no attempt was made,
    /// as when this process was paused.
    Expired(Option<Arc<Error>>),
    /// It was held for as long as [`LockOptions::max_hold`](crate::LockOptions::max_hold) allows.
    MaxHold,
    /// The [`Locker`](crate::Locker) was closed.
    Closed,
}

impl fmt::Display for LostReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("it was lost: the cache has it no more"),
            Self::HeldByOther => f.write_str("it was lost: another holds it"),
            Self::Revoked => f.write_str("it was revoked"),
            Self::Expired(Some(error)) => write!(f, "it could not be renewed in time: {}", error.message()),
            Self::Expired(None) => f.write_str("the lease expired before it could be renewed"),
            Self::MaxHold => f.write_str("it was held for as long as it may be"),
            Self::Closed => f.write_str("the locker was closed"),
        }
    }
}

impl LostReason {
    /// The reason as a label of metrics.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::HeldByOther => "held-by-other",
            Self::Revoked => "revoked",
            Self::Expired(_) => "expired",
            Self::MaxHold => "max-hold",
            Self::Closed => "closed",
        }
    }
}
