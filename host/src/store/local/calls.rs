//! The calls on their way to the thread that executes them.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::eventfd::{EfdFlags, EventFd};
use tokio::sync::{oneshot, watch};

use super::failure::Failure;
use super::seat::{Seat, Shared};
use super::watched::Revoked;
use crate::store::{DeleteOutcome, Entry, ExtendOutcome, SetOutcome};

/// What a caller asks for.
pub(super) enum Request {
    Set {
        key: Arc<str>,
        value: Arc<str>,
        ttl: Duration,
    },
    Enqueue {
        key: Arc<str>,
        value: Arc<str>,
        ttl: Duration,
    },
    /// The last step of a wait.
    Leave {
        shared: Arc<Shared>,
        seat: u64,
        ttl: Duration,
    },
    Extend {
        key: Arc<str>,
        value: Arc<str>,
        ttl: Duration,
    },
    Replace {
        key: Arc<str>,
        value: Arc<str>,
        replacement: Arc<str>,
        ttl: Duration,
    },
    Delete {
        key: Arc<str>,
        value: Arc<str>,
    },
    Withdraw {
        key: Arc<str>,
        value: Arc<str>,
    },
    Get {
        key: Arc<str>,
    },
    /// The next keys after this one.
    Keys {
        after: Option<Arc<str>>,
    },
    QueueLen {
        key: Arc<str>,
    },
    Announce(Revoked),
    /// Watches for revocations from here on, or for all changes.
    Listen {
        to_changes: bool,
    },
}

pub(super) enum Answer {
    Set(SetOutcome),
    Queued(Seat),
    /// The wait has ended already: its seat tells how.
    Ended,
    Extended(ExtendOutcome),
    Deleted(DeleteOutcome),
    Withdrawn,
    Found(Option<Entry>),
    Keys(Vec<String>),
    Count(usize),
    Announced,
    Listening,
}

pub(super) type Reply = oneshot::Sender<Result<Answer, Failure>>;

/// A request that is executed only as long as its caller waits for the answer.
pub(super) struct Call {
    pub(super) request: Request,
    pub(super) use_by: Instant,
    pub(super) reply: Reply,
}

impl Call {
    pub(super) fn is_awaited(&self, now: Instant) -> bool {
        now < self.use_by && !self.reply.is_closed()
    }
}

pub(super) struct Calls {
    state: Mutex<State>,
    wake: EventFd,
    /// The last revocation, for the callers that listen.
    pub(super) revocations: watch::Sender<Revoked>,
    /// Tells the callers that listen of each change of the store.
    pub(super) changes: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    calls: VecDeque<Call>,
    /// Waits whose callers all went away without an answer.
    abandoned: Vec<Arc<Shared>>,
    closing: bool,
    /// When there are more calls than this, those that are not awaited are dropped.
    limit: usize,
}

/// What there is to do.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) calls: Vec<Call>,
    pub(super) abandoned: Vec<Arc<Shared>>,
    pub(super) closing: bool,
}

const MIN_LIMIT: usize = 1024;
/// How many calls share a transaction.
const MAX_BATCH: usize = 64;

impl Calls {
    pub(super) fn new() -> nix::Result<Self> {
        let wake = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Self {
            state: Mutex::default(),
            wake,
            revocations: watch::Sender::default(),
            changes: watch::Sender::default(),
        })
    }

    pub(super) fn push(&self, call: Call) {
        let mut state = self.state();
        if state.calls.len() >= state.limit.max(MIN_LIMIT) {
            // The thread waits for a process that is stopped.
            let now = crate::time::now();
            state.calls.retain(|call| call.is_awaited(now));
            state.limit = 2 * state.calls.len();
        }
        state.calls.push_back(call);
        drop(state);
        self.wake();
    }

    pub(super) fn abandon(&self, shared: Arc<Shared>) {
        self.state().abandoned.push(shared);
        self.wake();
    }

    pub(super) fn close(&self) {
        self.state().closing = true;
        self.wake();
    }

    /// The next calls, in their order. No two of them begin or end a wait for the same value.
    pub(super) fn take(&self) -> Batch {
        _ = self.wake.read();
        let mut state = self.state();
        let mut batch = Batch {
            calls: Vec::new(),
            abandoned: std::mem::take(&mut state.abandoned),
            closing: std::mem::take(&mut state.closing),
        };
        while batch.calls.len() < MAX_BATCH
            && let Some(call) = state.calls.front()
            && !batch.calls.iter().any(|other| same_wait(&other.request, &call.request))
        {
            batch.calls.extend(state.calls.pop_front());
        }
        if !state.calls.is_empty() {
            self.wake();
        }
        batch
    }

    fn wake(&self) {
        // It fails only if the counter is at its maximum, and then the thread wakes up anyway.
        _ = self.wake.write(1);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsFd for Calls {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

/// Whether both begin or end a wait for the same value: the second one then needs to know what became of the first.
fn same_wait(one: &Request, other: &Request) -> bool {
    one.wait().is_some_and(|wait| other.wait() == Some(wait))
}

impl Request {
    /// The key and the value of the wait that this begins or ends.
    fn wait(&self) -> Option<(&str, &str)> {
        match self {
            Self::Enqueue { key, value, .. } => Some((key, value)),
            Self::Leave { shared, .. } => Some((&shared.key, &shared.value)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_begin_and_end_a_wait_for_one_value_do_not_share_a_transaction() {
        let calls = Arc::new(Calls::new().unwrap());
        let push = |request| {
            let (use_by, (reply, _)) = (crate::time::after(crate::time::now(), Duration::MAX), oneshot::channel());
            calls.push(Call { request, use_by, reply });
        };
        let enqueue =
            |value: &str| Request::Enqueue { key: "key".into(), value: value.into(), ttl: Duration::from_secs(1) };
        let shared = Arc::new(Shared::new("key".into(), "a".into(), 1, calls.clone()));
        push(Request::Leave { shared: shared.clone(), seat: 1, ttl: Duration::from_secs(1) });
        push(enqueue("b"));
        push(enqueue("a"));
        push(Request::Leave { shared, seat: 2, ttl: Duration::from_secs(1) });
        let batches: Vec<_> = (0..3).map(|_| calls.take().calls.len()).collect();
        assert_eq!(batches, [2, 1, 1]);
    }
}
