//! One call into the component, and what the component may reach from there: the cache and random bytes.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::component::bindings::locker::locker::cache as wit;
use crate::component::bindings::wasi::random::random;
use crate::error::{EXTENDED_TOO_LATE, GRANTED_TO_TOKEN_TOO_LATE, GRANTED_TOO_LATE};
use crate::random::Random;
use crate::store::orphan_cleanup::{self, OrphanCleanup, Store};
use crate::store::{Cache, CacheError, DeleteOutcome, Entry, ErrorKind, ExtendOutcome, SetOutcome, Stored};
use crate::time::{Term, after, least_left, millis_floor, now};

/// What all calls of a locker share.
pub(crate) struct LockerState {
    pub(crate) cache: Arc<dyn Cache>,
    pub(crate) max_ttl: Duration,
    pub(crate) random: Random,
    /// Set when the locker is closed.
    pub(crate) closed: CancellationToken,
    /// The tasks in the background, which renew locks and remove orphans.
    pub(crate) tasks: TaskTracker,
    orphan_cleanup: OrphanCleanup,
}

impl LockerState {
    pub(crate) fn new(cache: Arc<dyn Cache>, max_ttl: Duration, random: Random) -> Self {
        Self::with_closed(cache, max_ttl, random, CancellationToken::new())
    }

    /// The same over another cache: a plugin's part of this one.
    pub(crate) fn over(&self, cache: Arc<dyn Cache>) -> Self {
        Self::with_closed(cache, self.max_ttl, self.random.clone(), self.closed.child_token())
    }

    fn with_closed(cache: Arc<dyn Cache>, max_ttl: Duration, random: Random, closed: CancellationToken) -> Self {
        let tasks = TaskTracker::new();
        let orphan_cleanup = OrphanCleanup::new(Store::Cache(cache.clone()), tasks.clone());
        Self { cache, max_ttl, random, closed, tasks, orphan_cleanup }
    }

    /// Withdraws, in the background, a value that was to be stored for `ttl`.
    pub(crate) fn withdraw(&self, key: String, value: String, ttl: Duration, runtime: &Handle) {
        let gone = after(now(), ttl.saturating_add(LATEST_REQUEST));
        self.orphan_cleanup.add(orphan_cleanup::Orphan { key, value, votes: None, gone }, runtime);
    }
}

/// The operation that deletes the value of another caller.
pub(crate) const REVOKE: &str = "revoke";
/// How long after its caller went away a request may still store its value.
const LATEST_REQUEST: Duration = Duration::from_secs(10);

/// The state of one call. Dropping it withdraws what the call stored or queued and no caller owns.
pub(crate) struct CallContext {
    state: Arc<LockerState>,
    /// The function of our own component. None in a plugin that imports the cache itself.
    operation: Option<&'static str>,
    unowned: Option<Orphan>,
    term: Option<Term>,
    late: Option<u64>,
    failure: Option<CacheError>,
    /// Whether the caller chose the value to store. It can call again, and may have stored it before this call.
    chose_value: bool,
    /// Random bits that were drawn and not used yet, in this call.
    spare_random: Option<u64>,
    /// Closing the locker waits for this call, and then for its orphan.
    under_way: Option<TaskTrackerToken>,
}

impl CallContext {
    pub(crate) fn new(state: Arc<LockerState>) -> Self {
        Self {
            state,
            operation: None,
            unowned: None,
            term: None,
            late: None,
            failure: None,
            chose_value: false,
            spare_random: None,
            under_way: None,
        }
    }

    /// The state of another caller.
    pub(crate) fn another(&self) -> Self {
        Self::new(self.state.clone())
    }

    pub(crate) fn begin(&mut self, operation: &'static str) {
        self.operation = Some(operation);
        self.under_way = Some(self.state.tasks.token());
    }

    /// Says that the caller chose the value that this call stores.
    pub(crate) fn set_chose_value(&mut self) {
        self.chose_value = true;
    }

    pub(crate) fn operation(&self) -> &'static str {
        self.operation.unwrap_or("none")
    }

    /// Ends the call; `granted` says that its caller learns of the value that was stored, and owns it from here on.
    pub(crate) fn end(&mut self, granted: bool) {
        self.term = None;
        self.late = None;
        self.spare_random = None;
        self.chose_value = false;
        if let Some(unowned) = self.unowned.take()
            && granted
        {
            unowned.disarm();
        }
        self.under_way = None;
    }

    /// How long the cache keeps the value that it last stored or extended.
    pub(crate) fn term(&self) -> Option<Term> {
        self.term
    }

    /// The revision of a value that was stored too late to count.
    pub(crate) fn late(&self) -> Option<u64> {
        self.late
    }

    /// The cache's error that the component last saw.
    pub(crate) fn take_failure(&mut self) -> Option<CacheError> {
        self.failure.take()
    }

    fn check_ttl(&self, ttl: Duration) -> Result<(), CacheError> {
        let most = self.state.max_ttl;
        if ttl <= most {
            return Ok(());
        }
        let message = format!("a time to live of {ttl:?} is more than this host allows, which is {most:?}");
        Err(CacheError::new(ErrorKind::Denied, message))
    }

    /// The cache's answer, unless what it stored is over already: then the value is withdrawn.
    async fn set(
        &mut self,
        key: String,
        value: String,
        ttl: Option<Duration>,
        wait: Duration,
    ) -> Result<wit::SetOutcome, CacheError> {
        ttl.map_or(Ok(()), |ttl| self.check_ttl(ttl))?;
        let cache = self.state.cache.clone();
        let ttl = ttl.unwrap_or_else(|| cache.default_ttl());
        let mut orphan = Orphan::new(self.state.clone(), key, value, ttl);
        let mut too_late = GRANTED_TOO_LATE;
        if self.chose_value && wait.is_zero() {
            orphan.runtime = None;
            too_late = GRANTED_TO_TOKEN_TOO_LATE;
        }
        match cache.set_if_absent(&orphan.key, &orphan.value, Some(ttl), wait).await {
            Ok(SetOutcome::Stored(stored)) => {
                let stored = self.stored(stored, ttl, too_late)?;
                match self.operation {
                    Some(_) => self.unowned = Some(orphan),
                    // A plugin that imports the cache owns the value once it knows that it is stored.
                    None => orphan.disarm(),
                }
                Ok(wit::SetOutcome::Stored(stored))
            }
            Ok(SetOutcome::Occupied(entry)) => {
                orphan.disarm();
                Ok(wit::SetOutcome::Occupied(entry.into()))
            }
            Err(error) => {
                if !error.may_have_taken_effect() {
                    orphan.disarm();
                }
                Err(error)
            }
        }
    }

    /// A value that is stored or was extended, if its time is not over already.
    fn stored(
        &mut self,
        Stored { revision, deadline }: Stored,
        ttl: Duration,
        too_late: &'static str,
    ) -> Result<wit::Stored, CacheError> {
        let term = Term { deadline, ttl };
        if !term.has_left(least_left(ttl)) {
            self.late = Some(revision);
            return Err(CacheError::new(ErrorKind::Expired, too_late));
        }
        self.term = Some(term);
        Ok(wit::Stored { revision, ttl_ms: millis_floor(term.left()) })
    }

    fn note<T>(&mut self, answer: Result<T, CacheError>) -> Result<T, wit::Error> {
        answer.map_err(|failure| {
            let message = failure.to_string();
            let error = match failure.kind() {
                ErrorKind::Denied => wit::Error::Denied(message),
                ErrorKind::Invalid => wit::Error::Invalid(message),
                ErrorKind::Unavailable | ErrorKind::Expired | ErrorKind::Fault => wit::Error::Unavailable(message),
            };
            self.failure = Some(failure);
            error
        })
    }
}

/// A value that the cache may store or queue, and that no caller owns. Dropping it withdraws the value in the background.
pub(crate) struct Orphan {
    state: Arc<LockerState>,
    key: String,
    value: String,
    ttl: Duration,
    /// None once the value needs no clean-up, or outside a runtime, where the value expires by itself.
    runtime: Option<Handle>,
}

impl Orphan {
    pub(crate) fn new(state: Arc<LockerState>, key: String, value: String, ttl: Duration) -> Self {
        Self { state, key, value, ttl, runtime: Handle::try_current().ok() }
    }

    /// Says that the value was not stored, or that a caller owns it.
    pub(crate) fn disarm(mut self) {
        self.runtime = None;
    }
}

impl Drop for Orphan {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            let (key, value) = (std::mem::take(&mut self.key), std::mem::take(&mut self.value));
            self.state.withdraw(key, value, self.ttl, &runtime);
        }
    }
}

impl Drop for CallContext {
    fn drop(&mut self) {
        self.end(false);
    }
}

impl wit::Host for CallContext {
    async fn set_if_absent(
        &mut self,
        key: String,
        value: String,
        ttl_ms: Option<u64>,
        wait_ms: u64,
    ) -> Result<wit::SetOutcome, wit::Error> {
        let (ttl, wait) = (ttl_ms.map(Duration::from_millis), Duration::from_millis(wait_ms));
        let answer = self.set(key, value, ttl, wait).await;
        self.note(answer)
    }

    async fn extend_if_equal(
        &mut self,
        key: String,
        value: String,
        ttl_ms: u64,
    ) -> Result<wit::ExtendOutcome, wit::Error> {
        let ttl = Duration::from_millis(ttl_ms);
        let answer = match self.check_ttl(ttl) {
            Ok(()) => self.state.cache.extend_if_equal(&key, &value, ttl).await,
            Err(error) => Err(error),
        };
        let answer = answer.and_then(|outcome| {
            Ok(match outcome {
                ExtendOutcome::Extended(stored) => {
                    wit::ExtendOutcome::Extended(self.stored(stored, ttl, EXTENDED_TOO_LATE)?)
                }
                ExtendOutcome::Absent => wit::ExtendOutcome::Absent,
                ExtendOutcome::Different => wit::ExtendOutcome::Different,
            })
        });
        self.note(answer)
    }

    async fn replace_if_equal(
        &mut self,
        key: String,
        value: String,
        replacement: String,
        ttl_ms: u64,
    ) -> Result<wit::ExtendOutcome, wit::Error> {
        // A record that work is done may last longer than a lock.
        let ttl = Duration::from_millis(ttl_ms);
        let answer = self.state.cache.replace_if_equal(&key, &value, &replacement, ttl).await;
        self.note(answer).map(|outcome| match outcome {
            ExtendOutcome::Extended(Stored { revision, deadline }) => {
                let left = deadline.saturating_duration_since(now());
                wit::ExtendOutcome::Extended(wit::Stored { revision, ttl_ms: millis_floor(left).max(1) })
            }
            ExtendOutcome::Absent => wit::ExtendOutcome::Absent,
            ExtendOutcome::Different => wit::ExtendOutcome::Different,
        })
    }

    async fn delete_if_equal(&mut self, key: String, value: String) -> Result<wit::DeleteOutcome, wit::Error> {
        let answer = match self.operation {
            Some(REVOKE) => self.state.cache.revoke_if_equal(&key, &value).await,
            _ => self.state.cache.delete_if_equal(&key, &value).await,
        };
        self.note(answer).map(|outcome| match outcome {
            DeleteOutcome::Deleted => wit::DeleteOutcome::Deleted,
            DeleteOutcome::Absent => wit::DeleteOutcome::Absent,
            DeleteOutcome::Different => wit::DeleteOutcome::Different,
        })
    }

    async fn get(&mut self, key: String) -> Result<Option<wit::Entry>, wit::Error> {
        let answer = self.state.cache.get(&key).await;
        self.note(answer).map(|entry| entry.map(Into::into))
    }
}

impl random::Host for CallContext {
    fn get_random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        const MOST: u64 = 4096;
        wasmtime::ensure!(len <= MOST, "{len} random bytes asked for, {MOST} allowed");
        let mut bytes = vec![0; usize::try_from(len)?];
        self.state.random.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        // A token takes two of them, and asking the system is what costs time.
        if let Some(spare) = self.spare_random.take() {
            return Ok(spare);
        }
        let mut random = [0; 16];
        self.state.random.fill(&mut random)?;
        let random = u128::from_le_bytes(random);
        self.spare_random = Some((random >> 64) as u64);
        Ok(random as u64)
    }
}

impl From<Entry> for wit::Entry {
    fn from(entry: Entry) -> Self {
        Self { value: entry.value, revision: entry.revision, ttl_ms: entry.ttl.map(millis_floor) }
    }
}
