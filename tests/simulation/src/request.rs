//! What clients ask of the server, what it answers, and what it publishes.

use crate::cache::Entry;
use crate::table::Micros;

/// A request on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What to do.
    pub step: Step,
    /// Until when it may take effect, by the server's clock.
    pub use_by: u64,
}

/// One atomic step of the server: a script of `docs/protocol.md`, unless it says otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "they are named as in the protocol")]
pub enum Step {
    /// Not a script: the server's clock.
    Time,
    /// Not a script: messages to the client go through this connection too.
    Subscribe,
    Set {
        key: String,
        value: String,
        ttl_ms: u64,
        /// Whether it ends a wait, and removes the queue entry.
        last: bool,
        /// Whether another attempt of the same call may still arrive. Then the value is marked as withdrawn, so that it cannot be stored
        /// anew.
        again: bool,
    },
    Enqueue {
        key: String,
        value: String,
        ttl_ms: u64,
        /// 0 unless the server has given one.
        ticket: u64,
        report: bool,
        /// As for [`Step::Set`]; it matters once the value is stored.
        again: bool,
    },
    Extend {
        key: String,
        value: String,
        ttl_ms: u64,
    },
    Delete {
        key: String,
        value: String,
    },
    Withdraw {
        key: String,
        value: String,
    },
    Get {
        key: String,
    },
    /// Not for the store, but for what the lock guards. The simulation knows by `grant` whose write it is.
    Write {
        key: String,
        fence: u64,
        grant: usize,
    },
    /// The second half of a step that should have been one.
    Remove {
        key: String,
    },
    /// The second half of a step that should have been one.
    Expire {
        key: String,
        ttl_ms: u64,
    },
    /// The second half of a step that should have been one.
    Store {
        key: String,
        value: String,
        ttl_ms: u64,
        fence: u64,
    },
}

impl Step {
    /// What it is about.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::Time | Self::Subscribe => "",
            Self::Set { key, .. }
            | Self::Enqueue { key, .. }
            | Self::Extend { key, .. }
            | Self::Delete { key, .. }
            | Self::Withdraw { key, .. }
            | Self::Get { key }
            | Self::Write { key, .. }
            | Self::Remove { key }
            | Self::Expire { key, .. }
            | Self::Store { key, .. } => key,
        }
    }

    /// The value that it may store or queue.
    #[must_use]
    pub fn may_store(&self) -> Option<&str> {
        match self {
            Self::Set { value, .. } | Self::Enqueue { value, .. } => Some(value),
            _ => None,
        }
    }
}

/// A reply: the server's clock and an outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The server's wall clock.
    pub time: u64,
    /// What came of the request.
    pub outcome: Outcome,
}

/// What came of a request. Times are what is left.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "they are named as in the protocol")]
pub enum Outcome {
    /// There is nothing to say.
    Done,
    /// The use-by has passed; nothing was changed.
    Late,
    Withdrawn,
    Stored {
        fence: u64,
        left: Micros,
    },
    Occupied(Entry),
    Queued(Queued),
    Extended {
        fence: u64,
    },
    Deleted,
    Absent,
    Different,
    Found(Entry),
    Written(bool),
}

/// What a waiter learns of its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queued {
    /// The ticket of the entry.
    pub ticket: u64,
    /// Whether the entry was missing.
    pub added: bool,
    /// When the lock expires, if it is held.
    pub left: Option<Micros>,
    /// How many waiters are ahead.
    pub ahead: u64,
    /// Whether the server would notify the client.
    pub subscribed: bool,
}

/// What became of a request.
#[derive(Debug)]
pub enum Applied {
    /// It is done.
    Outcome(Outcome),
    /// Half of it is done, and others come in between.
    Then(Step),
}

/// A message to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The client that it is for.
    pub client: usize,
    /// The lock that it is about.
    pub key: String,
    /// The hand-off that it tells of. An empty one asks for a report.
    pub hand_off: Option<HandOff>,
}

/// The server stored the value of a waiter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandOff {
    /// Whose turn it was.
    pub value: String,
    /// The fence of the grant.
    pub fence: u64,
    /// When that was, by the server's clock.
    pub time: u64,
}
