//! One call into the component, and what the component may reach from there: the cache and random bytes.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::bindings::locker::locker::cache as wit;
use crate::bindings::wasi::random::random;
use crate::error::GRANTED_TOO_LATE;
use crate::give_back::give_back;
use crate::queue::{Queues, Turn};
use crate::scope::{Scoped, Waiting};
use crate::term::{Term, least_left};
use crate::{Cache, CacheError, Delete, Entry, ErrorKind, Extend, Set};

/// What all calls of a locker share.
pub(crate) struct Shared {
    pub(crate) cache: Arc<dyn Cache>,
    pub(crate) queues: Queues,
    pub(crate) max_ttl: Duration,
    /// Set when the locker is closed.
    pub(crate) closed: CancellationToken,
    /// What this is allowed, if not everything.
    pub(crate) scoped: Option<Arc<Scoped>>,
    /// What the host's names for its locks begin with.
    namespace: String,
    /// What goes on in the background: renewing what is held, giving back what is not.
    pub(crate) tasks: TaskTracker,
}

impl Shared {
    pub(crate) fn new(cache: Arc<dyn Cache>, max_ttl: Duration) -> Self {
        Self {
            cache,
            queues: Queues::default(),
            max_ttl,
            closed: CancellationToken::new(),
            scoped: None,
            namespace: String::new(),
            tasks: TaskTracker::new(),
        }
    }

    /// The same, within a scope. Who waits for a lock waits in the same line as everybody else.
    pub(crate) fn scoped(&self, scoped: Arc<Scoped>) -> Self {
        Self {
            namespace: self.namespace.clone() + &scoped.scope().qualified(""),
            cache: scoped.clone(),
            queues: self.queues.clone(),
            max_ttl: self.max_ttl,
            closed: self.closed.child_token(),
            scoped: Some(scoped),
            tasks: TaskTracker::new(),
        }
    }

    /// What those who wait for a lock line up under, in this scope or another.
    pub(crate) fn line<'a>(&self, name: &'a str) -> Cow<'a, str> {
        if self.namespace.is_empty() { Cow::Borrowed(name) } else { (self.namespace.clone() + name).into() }
    }

    /// Deletes a value in the background, in vain from `gone` on.
    /// If it may be in line still, it leaves that first.
    pub(crate) fn give_back(
        &self,
        key: String,
        value: String,
        in_line: bool,
        gone: Instant,
        runtime: &Handle,
    ) -> JoinHandle<()> {
        self.tasks.spawn_on(give_back(self.cache.clone(), key, value, in_line, gone), runtime)
    }

    /// Counts a call that waits, where they are counted.
    pub(crate) fn waiting(&self) -> Result<Option<Waiting>, CacheError> {
        self.scoped.as_ref().map(|scoped| scoped.wait()).transpose()
    }
}

/// The state of one call. Dropping it gives back what the call took and nobody came to own.
pub(crate) struct Call {
    shared: Arc<Shared>,
    /// What our own component was asked for. None in a plugin that was linked to the cache itself.
    operation: Option<&'static str>,
    turn: Option<Turn>,
    wanted: Option<Wanted>,
    term: Option<Term>,
    late: Option<u64>,
    failure: Option<CacheError>,
    /// Random bits that were drawn and not used yet, in this call.
    spare_random: Option<u64>,
    /// Whoever closes the locker waits for this call, and then for what it gives back.
    under_way: Option<TaskTrackerToken>,
}

/// A value that the component has asked the cache to store.
struct Wanted {
    key: String,
    value: String,
    ttl: Option<Duration>,
    state: State,
}

/// What has become of it.
enum State {
    /// It was refused.
    Refused,
    /// It may be in line, or may lie in the cache.
    InLine,
    /// It was stored on behalf of a caller that waited, and the component does not know yet.
    Handed { revision: u64, term: Term },
    /// It may lie in the cache, although nobody has learnt that it does.
    Unowned,
}

impl Call {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            operation: None,
            turn: None,
            wanted: None,
            term: None,
            late: None,
            failure: None,
            spare_random: None,
            under_way: None,
        }
    }

    /// The state of another caller.
    pub(crate) fn another(&self) -> Self {
        Self::new(self.shared.clone())
    }

    pub(crate) fn begin(&mut self, operation: &'static str, turn: Option<Turn>) {
        self.operation = Some(operation);
        self.turn = turn;
        self.under_way = Some(self.shared.tasks.token());
    }

    pub(crate) fn operation(&self) -> &'static str {
        self.operation.unwrap_or("none")
    }

    /// Ends the call; `granted` says that the caller has learnt of what was stored and owns it from here on.
    pub(crate) fn end(&mut self, granted: bool) {
        self.turn = None;
        self.term = None;
        self.late = None;
        self.spare_random = None;
        let wanted = self.wanted.take();
        if !granted {
            self.give_back(wanted);
        }
        self.under_way = None;
    }

    /// How long the cache keeps what it was last asked to store or extend.
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

    fn give_back(&self, wanted: Option<Wanted>) {
        if let (Some(wanted), Ok(runtime)) = (wanted, Handle::try_current()) {
            let Wanted { key, value, ttl, state } = wanted;
            if !matches!(state, State::Refused) {
                let (in_line, gone) = (matches!(state, State::InLine), expiry(Instant::now(), ttl));
                self.shared.give_back(key, value, in_line, gone, &runtime);
            }
        }
    }

    fn check_ttl(&self, ttl: Duration) -> Result<(), CacheError> {
        let most = self.shared.max_ttl;
        if ttl <= most {
            return Ok(());
        }
        let message = format!("a time to live of {ttl:?} is more than this host allows, which is {most:?}");
        Err(CacheError::new(ErrorKind::Denied, message))
    }

    /// The cache's answer, unless what it stored is over already: then the value is withdrawn.
    async fn set(&mut self, key: String, value: String, ttl: Option<Duration>) -> Result<wit::SetOutcome, CacheError> {
        ttl.map_or(Ok(()), |ttl| self.check_ttl(ttl))?;
        let (cache, asked) = (self.shared.cache.clone(), Instant::now());
        if self.operation.is_none() {
            // What a plugin stores is its own affair, and its scope knows of it.
            let outcome = match cache.set_if_absent(&key, &value, ttl).await? {
                Set::Occupied(entry) => return Ok(wit::SetOutcome::Occupied(entry.into())),
                Set::Stored(stored) => self.stored(stored.revision, Term::new(asked, stored)),
            };
            if let (Err(_), Ok(runtime)) = (&outcome, Handle::try_current()) {
                self.shared.give_back(key, value, false, expiry(Instant::now(), ttl), &runtime);
            }
            return outcome.map(wit::SetOutcome::Stored);
        }
        let handed = self.wanted.take_if(|wanted| wanted.key == key && wanted.value == value);
        let wanted = self.wanted.insert(Wanted { key, value, ttl, state: State::Unowned });
        if let Some(Wanted { state: State::Handed { revision, term }, .. }) = handed {
            self.turn = None;
            return self.stored(revision, term).map(wit::SetOutcome::Stored);
        }
        match cache.set_if_absent(&wanted.key, &wanted.value, ttl).await {
            Ok(Set::Stored(stored)) => {
                self.turn = None;
                self.stored(stored.revision, Term::new(asked, stored)).map(wit::SetOutcome::Stored)
            }
            Ok(Set::Occupied(entry)) => {
                wanted.state = State::Refused;
                Ok(wit::SetOutcome::Occupied(entry.into()))
            }
            // The value may have been stored all the same.
            Err(error) if error.kind() == ErrorKind::Unavailable => Err(error),
            Err(error) => {
                wanted.state = State::Refused;
                Err(error)
            }
        }
    }

    async fn wait(&mut self, key: &str, patience: Duration) -> Result<Duration, CacheError> {
        let plugins = self.operation.is_none();
        let _waiting = if plugins { self.shared.waiting()? } else { None };
        let started = Instant::now();
        let left = || patience.saturating_sub(started.elapsed());
        let line = self.shared.line(key);
        if !self.turn.as_ref().is_some_and(|turn| turn.is_for(&line)) {
            self.turn = None;
            self.turn = timeout(patience, self.shared.queues.turn(&line)).await.ok();
        }
        let waited = match (left(), self.wanted.as_mut().filter(|wanted| wanted.key == key)) {
            (Duration::ZERO, _) => Ok(()),
            (left, Some(wanted)) => wanted.wait(&*self.shared.cache, left).await,
            (left, None) => self.shared.cache.wait_until_absent(key, left).await,
        };
        if plugins {
            // Nobody knows whether it will ever come back to take the lock, least of all if it was refused.
            self.turn = None;
        }
        waited.map(|()| left())
    }

    /// A value that is stored or was extended, if its time is not over already.
    fn stored(&mut self, revision: u64, term: Term) -> Result<wit::Stored, CacheError> {
        if !term.has_left(least_left(term.ttl)) {
            self.late = Some(revision);
            return Err(CacheError::new(ErrorKind::Expired, GRANTED_TOO_LATE));
        }
        self.term = Some(term);
        Ok(wit::Stored { revision, ttl_ms: full_millis(term.left()) })
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

impl Wanted {
    /// Waits until the key may be absent, or the value may lie there.
    async fn wait(&mut self, cache: &dyn Cache, patience: Duration) -> Result<(), CacheError> {
        let asked = Instant::now();
        self.state = State::InLine;
        if let Some(stored) = cache.wait_to_set(&self.key, &self.value, self.ttl, patience).await? {
            let mut term = Term::new(asked, stored);
            // The cache counts from the beginning of the wait, which is no part of the time to live.
            term.ttl = self.ttl.unwrap_or_else(|| term.left());
            self.state = State::Handed { revision: stored.revision, term };
        }
        Ok(())
    }
}

/// When what was stored for some time, or for the cache's default time, has expired.
fn expiry(since: Instant, ttl: Option<Duration>) -> Instant {
    const USUAL_TTL: Duration = Duration::from_secs(60);
    since.checked_add(ttl.unwrap_or(USUAL_TTL)).unwrap_or(since + USUAL_TTL)
}

impl Drop for Call {
    fn drop(&mut self) {
        self.end(false);
    }
}

impl wit::Host for Call {
    async fn set_if_absent(
        &mut self,
        key: String,
        value: String,
        ttl_ms: Option<u64>,
    ) -> Result<wit::SetOutcome, wit::Error> {
        let answer = self.set(key, value, ttl_ms.map(Duration::from_millis)).await;
        self.note(answer)
    }

    async fn extend_if_equal(
        &mut self,
        key: String,
        value: String,
        ttl_ms: u64,
    ) -> Result<wit::ExtendOutcome, wit::Error> {
        let (asked, ttl) = (Instant::now(), Duration::from_millis(ttl_ms));
        let answer = match self.check_ttl(ttl) {
            Ok(()) => self.shared.cache.extend_if_equal(&key, &value, ttl).await,
            Err(error) => Err(error),
        };
        let answer = answer.and_then(|extend| {
            Ok(match extend {
                Extend::Extended(stored) => {
                    wit::ExtendOutcome::Extended(self.stored(stored.revision, Term::new(asked, stored))?)
                }
                Extend::Absent => wit::ExtendOutcome::Absent,
                Extend::Different => wit::ExtendOutcome::Different,
            })
        });
        self.note(answer)
    }

    async fn delete_if_equal(&mut self, key: String, value: String) -> Result<wit::DeleteOutcome, wit::Error> {
        let answer = self.shared.cache.delete_if_equal(&key, &value).await;
        self.note(answer).map(|delete| match delete {
            Delete::Deleted => wit::DeleteOutcome::Deleted,
            Delete::Absent => wit::DeleteOutcome::Absent,
            Delete::Different => wit::DeleteOutcome::Different,
        })
    }

    async fn get(&mut self, key: String) -> Result<Option<wit::Entry>, wit::Error> {
        let answer = self.shared.cache.get(&key).await;
        self.note(answer).map(|entry| entry.map(Into::into))
    }

    async fn wait_until_absent(&mut self, key: String, timeout_ms: u64) -> Result<u64, wit::Error> {
        let answer = self.wait(&key, Duration::from_millis(timeout_ms)).await;
        // Rounded up, so that nobody gives up early.
        self.note(answer).map(whole_millis)
    }
}

impl random::Host for Call {
    fn get_random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        const MOST: u64 = 4096;
        wasmtime::ensure!(len <= MOST, "{len} random bytes asked for, {MOST} allowed");
        let mut bytes = vec![0; usize::try_from(len)?];
        getrandom::fill(&mut bytes)?;
        Ok(bytes)
    }

    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        // A token takes two of them, and asking the system is what costs time.
        if let Some(spare) = self.spare_random.take() {
            return Ok(spare);
        }
        let mut random = [0; 16];
        getrandom::fill(&mut random)?;
        let random = u128::from_ne_bytes(random);
        self.spare_random = Some((random >> 64) as u64);
        Ok(random as u64)
    }
}

/// Milliseconds, fractions rounded up.
pub(crate) fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// Milliseconds, fractions rounded down: for what is left of a time to live.
fn full_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl From<Entry> for wit::Entry {
    fn from(entry: Entry) -> Self {
        Self { value: entry.value, revision: entry.revision, ttl_ms: entry.ttl.map(full_millis) }
    }
}
