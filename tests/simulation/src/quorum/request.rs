//! What a member is asked, and its answers.

use std::ops::RangeInclusive;

use locker_host::cache::Entry;

/// A request to a member. Times are in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Vote { key: String, value: String, ttl_ms: u64, revision: u64, since: u64 },
    WithdrawVote { key: String, value: String, revisions: RangeInclusive<u64> },
    Restore { key: String, value: String, ttl_ms: u64, revision: u64 },
    Extend { key: String, value: String, ttl_ms: u64 },
    Delete { key: String, value: String },
    Withdraw { key: String, value: String },
    Get { key: String },
    Keys,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Stored {
        revision: u64,
        left_ms: u64,
    },
    Occupied(Entry),
    Outdated(u64),
    /// The value was withdrawn and is refused.
    Withdrawn,
    /// The request came after its use-by.
    Late,
    Extended {
        revision: u64,
    },
    Absent,
    Different,
    Deleted,
    Done,
    Found(Option<Entry>),
    Keys(Vec<String>),
}

impl Request {
    pub(crate) fn key(&self) -> Option<&str> {
        match self {
            Self::Vote { key, .. }
            | Self::WithdrawVote { key, .. }
            | Self::Restore { key, .. }
            | Self::Extend { key, .. }
            | Self::Delete { key, .. }
            | Self::Withdraw { key, .. }
            | Self::Get { key } => Some(key),
            Self::Keys => None,
        }
    }

    pub(crate) fn writes(&self) -> bool {
        !matches!(self, Self::Get { .. } | Self::Keys)
    }
}

impl std::fmt::Display for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Vote { key, value, ttl_ms, revision, since } => {
                let again = if since < revision { " again" } else { "" };
                write!(f, "vote{again} for {value} on {key} with {revision} for {ttl_ms} ms")
            }
            Self::WithdrawVote { key, value, revisions } => write!(f, "withdraw {value} from {key} with {revisions:?}"),
            Self::Restore { key, value, ttl_ms, revision } => {
                write!(f, "restore {value} on {key} with {revision} for {ttl_ms} ms")
            }
            Self::Extend { key, value, ttl_ms } => write!(f, "extend {value} on {key} to {ttl_ms} ms"),
            Self::Delete { key, value } => write!(f, "delete {value} from {key}"),
            Self::Withdraw { key, value } => write!(f, "withdraw {value} from {key}"),
            Self::Get { key } => write!(f, "get {key}"),
            Self::Keys => f.write_str("keys"),
        }
    }
}

impl std::fmt::Display for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stored { revision, left_ms } => write!(f, "stored with {revision}, {left_ms} ms left"),
            Self::Occupied(entry) | Self::Found(Some(entry)) => {
                write!(f, "{} has it with {}, {:?} left", entry.value, entry.revision, entry.ttl.unwrap_or_default())
            }
            Self::Outdated(last) => write!(f, "outdated by {last}"),
            Self::Extended { revision } => write!(f, "extended, with {revision}"),
            Self::Found(None) => f.write_str("free"),
            other => write!(f, "{}", format!("{other:?}").to_lowercase()),
        }
    }
}
