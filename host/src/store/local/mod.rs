//! A store that the processes of one machine share, without a server.
//!
//! # Layout
//!
//! A call goes from the caller's task to one thread, which executes it in a transaction on the files.
//!
//! - `calls`: the calls on their way to the thread; `worker`: the thread; `steps`: what it does for each; `registry`: the stores that the process has open.
//! - `seat`, `waiters`: the calls of this process that wait; `mailbox`, `peers`: how processes tell each other; `watched`: what else they learn of each other.
//! - `table`: the steps on locks; `queue`: the steps on queues; `record`: how they are stored.
//! - `store`: transactions; `files`: the files, and when they are replaced; `folder`, `lock_file`, `header`, `database`: one of them each; `check`: looks for damage.
//! - `machine`, `filesystem`: where a store works; `failure`: why it does not; `findings`: how well it does.

mod calls;
mod check;
mod database;
mod failure;
mod files;
mod filesystem;
mod findings;
mod folder;
mod header;
mod lock_file;
mod machine;
mod mailbox;
mod peers;
mod queue;
mod record;
mod registry;
mod seat;
mod steps;
mod store;
mod table;
mod waiters;
mod watched;
mod worker;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout_at};

use self::calls::{Answer, Call, Request};
use self::failure::Failure;
use self::folder::Folder;
pub use self::machine::Machine;
use self::registry::{User, check_process};
use self::seat::Seat;
use self::watched::Revoked;
use crate::store::{Cache, CacheError, Change, DeleteOutcome, Entry, ExtendOutcome, Finding, Revocation, SetOutcome};
use crate::time::{after, now};

/// A store that the processes of one machine share, without a server. Linux only.
///
/// It is a folder with a small file, a lock file, and a socket for each process that waits. Queues are first come, first served across all processes, and
/// a released lock is handed over at once. Locks and queues end with the boot of the machine, fences increase across boots. Clones share
/// the store; a process opens a folder once.
///
/// Time that the machine is suspended does not count: neither for the lock nor for its holder.
///
/// ```
/// use locker_host::{Local, Locker};
///
/// let folder = tempfile::tempdir().unwrap();
/// let locker = Locker::new(Local::open(folder.path()).unwrap()).unwrap();
/// ```
#[derive(Clone)]
pub struct Local {
    user: Arc<User>,
    is_new: bool,
    default_ttl: Duration,
    timeout: Duration,
}

impl Local {
    /// The store of this user, in [`Local::default_path`]. Only this user has access to it.
    ///
    /// ```no_run
    /// let local = locker_host::Local::open_default().unwrap();
    /// ```
    ///
    /// # Errors
    /// As for [`Local::open`]; also [`ErrorKind::Denied`](crate::ErrorKind::Denied) if other users have access to the folder.
    pub fn open_default() -> Result<Self, CacheError> {
        Self::open_folder(&Self::default_path(), Machine::this()?, true)
    }

    /// The folder of this user's store: `/var/lib/locker` for root, `/var/tmp/locker-UID` for others. It depends on the user id alone, so that shells,
    /// services and cron jobs agree on it.
    ///
    /// ```
    /// assert!(locker_host::Local::default_path().is_absolute());
    /// ```
    #[must_use]
    pub fn default_path() -> PathBuf {
        folder::default_path()
    }

    /// Whether there is a store in the folder `path`: a process has used it at least once. This creates nothing, unlike [`Local::open`].
    ///
    /// ```
    /// assert!(!locker_host::Local::exists("/no/such/folder"));
    /// ```
    #[must_use]
    pub fn exists(path: impl AsRef<Path>) -> bool {
        path.as_ref().join(files::DATA).is_file()
    }

    /// The store in the folder `path`. If there is no such folder, it is created for this user alone. All users that may write to the folder
    /// share the store.
    ///
    /// The files are opened by the first call: this does not wait for other processes.
    ///
    /// # Errors
    /// - [`ErrorKind::Denied`](crate::ErrorKind::Denied): `path` is a symbolic link, belongs to another user, may not be written to, or is on a
    ///   network file system; or this process was forked from one that uses a store.
    /// - [`ErrorKind::Invalid`](crate::ErrorKind::Invalid): the folder above it does not exist.
    /// - [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable): no space is left.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, CacheError> {
        Self::open_on(path, Machine::this()?)
    }

    /// The store in the folder `path`, as a process on `machine` would open it: for tests of what a boot changes.
    ///
    /// # Errors
    /// As for [`Local::open`].
    #[doc(hidden)]
    pub fn open_on(path: impl AsRef<Path>, machine: Machine) -> Result<Self, CacheError> {
        Self::open_folder(path.as_ref(), machine, false)
    }

    fn open_folder(path: &Path, machine: Machine, is_private: bool) -> Result<Self, CacheError> {
        check_process()?;
        // Before the path is made canonical, which would follow a symbolic link.
        let (folder, is_new) = Folder::open(path, is_private)?;
        let canonical = path.canonicalize().map_err(|error| Failure::of_system(path, &error))?;
        let user = Arc::new(User::new(folder.at(canonical), machine, is_private)?);
        Ok(Self { user, is_new, default_ttl: Duration::from_secs(30), timeout: Duration::from_secs(5) })
    }

    /// Keeps values that come without a time to live for `ttl` instead of 30 seconds.
    #[must_use]
    pub fn default_ttl(mut self, ttl: Duration) -> Self {
        self.default_ttl = ttl;
        self
    }

    /// Gives up on a call after `timeout` instead of 5 seconds, besides its wait. A call takes that long only if another process is stopped just
    /// while it uses the files.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.user.path()
    }

    /// Whether the folder was created when the store was opened.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// How many callers are in the queue for `key`, in all processes. Some of them may have died.
    ///
    /// # Errors
    /// [`CacheError`].
    pub async fn queue_len(&self, key: &str) -> Result<usize, CacheError> {
        match self.call(Request::QueueLen { key: key.into() }).await? {
            Answer::Count(count) => Ok(count),
            _ => Err(unexpected()),
        }
    }

    async fn call(&self, request: Request) -> Result<Answer, CacheError> {
        check_process()?;
        let use_by = after(now(), self.timeout);
        let (reply, answer) = oneshot::channel();
        self.user.calls.push(Call { request, use_by, reply });
        match timeout_at(use_by.into(), answer).await {
            Ok(Ok(answer)) => Ok(answer?),
            Ok(Err(_)) => Err(Failure::unavailable("the local store dropped the request").into()),
            Err(_) => Err(Failure::unavailable(format!(
                "the local store at {} did not answer in {:?}: a process that uses it is stopped in the middle of a step, or the disk hangs; \
                continue or end that process",
                self.path().display(),
                self.timeout
            ))
            .into()),
        }
    }

    /// Waits in the queue until the value is stored, or the wait is over.
    async fn wait(&self, mut seat: Seat, ttl: Duration, wait: Duration) -> Result<SetOutcome, CacheError> {
        tokio::select! {
            biased;
            ending = seat.ending() => {
                let stored = ending?;
                seat.answered(true);
                return Ok(SetOutcome::Stored(stored));
            }
            () = sleep(wait) => {}
        }
        let leave = Request::Leave { shared: seat.shared.clone(), seat: seat.number, ttl };
        let outcome = match self.call(leave).await? {
            Answer::Set(outcome) => outcome,
            Answer::Ended => SetOutcome::Stored(seat.ending().await?),
            _ => return Err(unexpected()),
        };
        seat.answered(matches!(outcome, SetOutcome::Stored(_)));
        Ok(outcome)
    }

    async fn set_outcome(&self, request: Request) -> Result<SetOutcome, CacheError> {
        match self.call(request).await? {
            Answer::Set(outcome) => Ok(outcome),
            _ => Err(unexpected()),
        }
    }
}

fn unexpected() -> CacheError {
    Failure::unavailable("the local store gave the answer to another request").into()
}

#[async_trait]
impl Cache for Local {
    async fn try_set(&self, key: &str, value: &str, ttl: Option<Duration>) -> Result<SetOutcome, CacheError> {
        let ttl = ttl.unwrap_or(self.default_ttl);
        self.set_outcome(Request::Set { key: key.into(), value: value.into(), ttl }).await
    }

    async fn set_if_absent(
        &self,
        key: &str,
        value: &str,
        ttl: Option<Duration>,
        wait: Duration,
    ) -> Result<SetOutcome, CacheError> {
        if wait.is_zero() {
            return self.try_set(key, value, ttl).await;
        }
        let (ttl, started) = (ttl.unwrap_or(self.default_ttl), now());
        match self.call(Request::Enqueue { key: key.into(), value: value.into(), ttl }).await? {
            Answer::Set(outcome) => Ok(outcome),
            // Boxed to keep the future of a call that finds the key free small.
            Answer::Queued(seat) => {
                Box::pin(self.wait(seat, ttl, wait.saturating_sub(crate::time::elapsed(started)))).await
            }
            _ => Err(unexpected()),
        }
    }

    fn default_ttl(&self) -> Duration {
        self.default_ttl
    }

    fn is_fifo(&self) -> bool {
        true
    }

    async fn extend_if_equal(&self, key: &str, value: &str, ttl: Duration) -> Result<ExtendOutcome, CacheError> {
        match self.call(Request::Extend { key: key.into(), value: value.into(), ttl }).await? {
            Answer::Extended(outcome) => Ok(outcome),
            _ => Err(unexpected()),
        }
    }

    async fn replace_if_equal(
        &self,
        key: &str,
        value: &str,
        replacement: &str,
        ttl: Duration,
    ) -> Result<ExtendOutcome, CacheError> {
        let (key, value, replacement) = (key.into(), value.into(), replacement.into());
        match self.call(Request::Replace { key, value, replacement, ttl }).await? {
            Answer::Extended(outcome) => Ok(outcome),
            _ => Err(unexpected()),
        }
    }

    async fn delete_if_equal(&self, key: &str, value: &str) -> Result<DeleteOutcome, CacheError> {
        match self.call(Request::Delete { key: key.into(), value: value.into() }).await? {
            Answer::Deleted(outcome) => Ok(outcome),
            _ => Err(unexpected()),
        }
    }

    async fn withdraw(&self, key: &str, value: &str) -> Result<(), CacheError> {
        self.call(Request::Withdraw { key: key.into(), value: value.into() }).await.map(|_| ())
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, CacheError> {
        match self.call(Request::Get { key: key.into() }).await? {
            Answer::Found(entry) => Ok(entry),
            _ => Err(unexpected()),
        }
    }

    async fn listen_for_change(&self, _: &str) -> Result<Change, CacheError> {
        let (local, mut changes) = (self.clone(), self.user.calls.changes.subscribe());
        self.call(Request::Listen { to_changes: true }).await?;
        Ok(Box::pin(async move {
            // The sender lives as long as the store.
            let _local = local;
            _ = changes.changed().await;
        }))
    }

    async fn announce_revocation(&self, key: &str, revision: u64) -> Result<(), CacheError> {
        self.call(Request::Announce(Revoked { fence: revision, key: key.to_owned() })).await.map(|_| ())
    }

    async fn listen_for_revocation(&self, key: &str, revision: u64) -> Option<Revocation> {
        let (local, key) = (self.clone(), key.to_owned());
        let mut revocations = self.user.calls.revocations.subscribe();
        self.call(Request::Listen { to_changes: false }).await.ok()?;
        Some(Box::pin(async move {
            // The sender lives as long as the store.
            let _local = local;
            let revoked = Revoked { fence: revision, key };
            revocations.changed().await.is_ok() && *revocations.borrow() == revoked
        }))
    }

    async fn keys(&self) -> Result<Vec<String>, CacheError> {
        let mut keys = Vec::<String>::new();
        loop {
            // Some at a time: other calls must not wait for all of them.
            let after = keys.last().map(|key| key.as_str().into());
            match self.call(Request::Keys { after }).await? {
                Answer::Keys(next) if next.is_empty() => return Ok(keys),
                Answer::Keys(next) => keys.extend(next),
                _ => return Err(unexpected()),
            }
        }
    }

    async fn check(&self) -> Vec<Finding> {
        self.findings().await
    }
}
