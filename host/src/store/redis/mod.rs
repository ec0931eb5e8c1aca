//! A store in Redis.
//!
//! # Layout
//!
//! - `address`: what a URL says; `connection`: one connection for all calls.
//! - `client`: the seam to servers; `network`: servers that the redis crate connects to;
//!   `tls`: one whose certificates are named.
//! - `retry`: what a server is asked, and when it is asked again; `failure`: what its errors mean; `clock`: what is known of its clock.
//! - `keys`: which keys belong to a lock; `slot`: the hash slots of a cluster.
//! - `lua/`: the atomic steps; each script says what it takes and returns. `script`: how one is run; `reply`: what it answers.
//! - `late_extensions`: what a holder may count on while an extension may come late.
//! - `check`: looks for what may keep locks from working.
//! - `queue`: waiting for a lock; `revocation`: telling a holder that it has lost one; `pubsub`: which callers of this process are notified on which channel.

mod address;
mod check;
pub(crate) mod client;
mod clock;
mod connection;
mod failure;
mod keys;
mod late_extensions;
mod network;
mod pubsub;
mod queue;
mod reply;
mod retry;
mod revocation;
mod script;
mod slot;
mod tls;

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use redis::{RedisError, RedisResult, cmd};

use crate::environment::Environment;
use crate::random::Random;
use crate::store::{
    Cache, CacheError, Change, DeleteOutcome, Entry, ErrorKind, ExtendOutcome, Finding, QuorumMember, Revocation,
    SetOutcome, Stored, Vote, VoteOutcome,
};
use crate::time::{YEAR, millis_ceil};
use address::Address;
use client::Connector;
use connection::{Connection, Settings};
use keys::Keys;
use network::Credentials;
use reply::{Reply, malformed};
use retry::{Confirmation, Request};
use script::{Invocation, Mark, Script, script};

static SET: LazyLock<Script> = script!(Grants, "set_free", "fence", "value", "queue", "final", "set");
static EXTEND: LazyLock<Script> = script!(Writes, "time", "value", "extend");
static DELETE: LazyLock<Script> = script!(Writes, "delete_alone", "value", "fence", "queue", "release", "delete");
static WITHDRAW: LazyLock<Script> = script!(Writes, "time", "value", "fence", "queue", "release", "withdraw");
static GET: LazyLock<Script> = script!(Reads, "time", "value", "get");
static VOTE: LazyLock<Script> = script!(Writes, "time", "value", "store_with", "vote");
static WITHDRAW_VOTE: LazyLock<Script> =
    script!(Writes, "time", "value", "fence", "queue", "release", "store_with", "withdraw_vote");
static RESTORE: LazyLock<Script> = script!(Writes, "time", "value", "store_with", "restore");

/// The code of each script by its name, for servers that are simulated.
///
/// ```
/// let scripts = locker_host::simulation::scripts();
/// assert!(scripts.iter().any(|(name, code)| *name == "set" && code.contains("redis.call")));
/// ```
#[must_use]
pub fn scripts() -> [(&'static str, &'static str); 9] {
    [
        ("set", SET.code),
        ("enqueue", queue::ENQUEUE.code),
        ("extend", EXTEND.code),
        ("delete", DELETE.code),
        ("withdraw", WITHDRAW.code),
        ("get", GET.code),
        ("vote", VOTE.code),
        ("withdraw_vote", WITHDRAW_VOTE.code),
        ("restore", RESTORE.code),
    ]
}

/// A store in Redis 6.2 or later, shared by all clients of the same server, database and prefix.
///
/// Clones share one connection. It is made when it is first needed, and made again after it broke.
///
/// A lock is one key: the prefix, `lock:` by default, and the lock's name. Its value contains its fencing token. All locks of a hash slot
/// share one fence counter, which stays. The queue of a lock exists only while callers wait: it is first come, first served across
/// all clients. `docs/protocol.md` specifies all of it.
///
/// ```no_run
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), locker_host::Error> {
/// use locker_host::{Locker, Redis};
///
/// let locker = Locker::new(Redis::connect("redis://localhost:6379").await?)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Redis {
    connection: Arc<Connection>,
    prefix: Arc<str>,
    default_ttl: Duration,
    replicas: u32,
}

impl Redis {
    /// A store at `url`, which is asked now whether it is there. [`Redis::open`] says what a URL looks like.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if the URL is none; [`ErrorKind::Unavailable`] if the server cannot be reached;
    /// [`ErrorKind::Denied`] if it refuses the login.
    pub async fn connect(url: &str) -> Result<Self, CacheError> {
        let redis = Self::open(url)?;
        redis.ping().await?;
        Ok(redis)
    }

    /// A store at `url` that is connected to when it is first used.
    ///
    /// - `redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]`: one server. `redis+unix:///PATH`: one on this machine.
    /// - `redis+cluster://[USER:PASSWORD@]HOST[:PORT],HOST...`: a cluster; naming a few of its nodes is enough.
    /// - `redis+sentinel://[USER:PASSWORD@]HOST[:PORT],HOST.../NAME[/DATABASE]`: the primary that the sentinels know as
    ///   `NAME`. The login is for the servers. Sentinels get the one of `?sentinel-user=USER&sentinel-password=PASSWORD`, or else the
    ///   same, or none if they have no password.
    ///
    /// With `rediss` for `redis`, over TLS. With `?wait-replicas=N` at the end, as [`Redis::wait_replicas`] says. An option that is not known is refused.
    ///
    /// ```
    /// use std::time::Duration;
    /// use locker_host::Redis;
    ///
    /// let redis = Redis::open("redis://localhost").unwrap().prefix("app:").unwrap().default_ttl(Duration::from_secs(60));
    /// assert!(Redis::open("http://localhost").is_err());
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if the URL is none.
    pub fn open(url: &str) -> Result<Self, CacheError> {
        let (address, options) = address::split_options(url)
            .and_then(|(url, options)| Ok((Address::parse(&url)?, options)))
            .map_err(|why| CacheError::new(ErrorKind::Invalid, format!("the cache's URL cannot be used: {why}")))?;
        let settings = Settings {
            timeout: Duration::from_secs(5),
            credentials: Credentials {
                sentinel_login: options.sentinel_password.map(|password| (options.sentinel_user, password)),
                ..Credentials::default()
            },
            connector: None,
            random: Random::default(),
        };
        Ok(Self {
            connection: Arc::new(Connection::new(Arc::new(address), settings)),
            prefix: Arc::from("lock:"),
            default_ttl: Duration::from_secs(30),
            replicas: options.wait_replicas,
        })
    }

    /// Waits for a connection, and for an answer, this long instead of 5 seconds. Less than a server may need to write
    /// to its disk makes errors of what is merely slow.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.connection = Arc::new(self.connection.with(|settings| settings.timeout = timeout));
        self
    }

    /// Trusts the certificates in `pem` instead of those that the system trusts: those of authorities and, for one server, a certificate
    /// that signs itself.
    #[must_use]
    pub fn root_certificates(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.connection =
            Arc::new(self.connection.with(|settings| settings.credentials.root_certificates = Some(pem.into())));
        self
    }

    /// Shows the certificate `pem` with its private key `key_pem` to servers that ask for one.
    #[must_use]
    pub fn client_certificate(mut self, pem: impl Into<Vec<u8>>, key_pem: impl Into<Vec<u8>>) -> Self {
        let certificate = Some((pem.into(), key_pem.into()));
        self.connection =
            Arc::new(self.connection.with(|settings| settings.credentials.client_certificate = certificate));
        self
    }

    /// Gets its connections from `connector` instead of from the network, for simulations. The URL still says what kind of server it is.
    #[must_use]
    pub fn connector(mut self, connector: Arc<dyn Connector>) -> Self {
        self.connection = Arc::new(self.connection.with(|settings| settings.connector = Some(connector)));
        self
    }

    /// Makes all choices of this store depend on `environment`, for simulations.
    #[must_use]
    pub fn environment(mut self, environment: &Environment) -> Self {
        self.connection = Arc::new(self.connection.with(|settings| settings.random = environment.random.clone()));
        self
    }

    /// What this store remembers of callers and requests, in words, for simulations: nothing once none of them is under way.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), locker_host::CacheError> {
    /// assert!(locker_host::Redis::open("redis://localhost")?.remembered().is_empty());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn remembered(&self) -> Vec<String> {
        let extensions = self.connection.late_extensions().remembered();
        self.connection.subscriptions().remembered().into_iter().chain(extensions).collect()
    }

    /// Keeps all keys under `prefix` instead of `lock:`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if it has control characters, or a `{` that does not open a whole cluster hash tag.
    pub fn prefix(mut self, prefix: &str) -> Result<Self, CacheError> {
        if !keys::is_valid_prefix(prefix) {
            let message = "a prefix must have no control characters, and no '{' but in a whole hash tag like {app}";
            return Err(CacheError::new(ErrorKind::Invalid, message));
        }
        self.prefix = Arc::from(prefix);
        Ok(self)
    }

    /// Keeps what comes without a time to live for `ttl` instead of 30 seconds.
    #[must_use]
    pub fn default_ttl(mut self, ttl: Duration) -> Self {
        self.default_ttl = ttl;
        self
    }

    /// Counts a lock as granted or extended only when so many replicas have confirmed that they know of it. A grant that
    /// is not confirmed within a second is withdrawn; a lock whose extension is not confirmed is still held, but the
    /// call fails with [`ErrorKind::Unavailable`]. A failover to one of them then keeps the lock. While the server
    /// waits for its replicas, other calls through the same connection wait too.
    #[must_use]
    pub fn wait_replicas(mut self, replicas: u32) -> Self {
        self.replicas = replicas;
        self
    }

    async fn ping(&self) -> Result<(), CacheError> {
        self.connection.execute(&Request::Command(&cmd("PING"))).await
    }

    async fn run(&self, script: &Script, of: &Keys<'_>, keys: &[&str], args: &[&str]) -> Result<Reply, CacheError> {
        self.connection.run(&Invocation { script, slot: of.slot, keys, args, mark: Mark::IfRetried }).await
    }

    /// Runs a script and then waits for replicas, if the outcome says that something was written. Answers whether enough have confirmed it.
    async fn run_confirmed(
        &self,
        invocation: &Invocation<'_>,
        wrote: fn(&str) -> bool,
    ) -> Result<(Reply, Result<(), CacheError>), CacheError> {
        let asked = self.replicas;
        if asked == 0 {
            return Ok((self.connection.run(invocation).await?, Ok(())));
        }
        let (reply, confirmed) =
            self.connection.run_confirmed(invocation, Some(Confirmation { replicas: asked, wrote })).await?;
        if confirmed >= i64::from(asked) {
            return Ok((reply, Ok(())));
        }
        let address = self.connection.address();
        let message = format!("{address}: {confirmed} replicas have confirmed, and {asked} were asked for");
        Ok((reply, Err(CacheError::new(ErrorKind::Unavailable, message))))
    }

    fn keys<'a>(&'a self, name: &'a str) -> Keys<'a> {
        Keys::new(&self.prefix, name)
    }

    /// Makes one attempt. What replicas have not confirmed is withdrawn.
    async fn set(&self, keys: &Keys<'_>, value: &str, ttl: Duration) -> Result<SetOutcome, CacheError> {
        let set = self.set_confirmed(keys, value, ttl, None, Mark::IfRetried).await;
        let outcome = set.and_then(|set| set.confirmed.map(|()| set.outcome));
        if self.replicas > 0 && outcome.is_err() {
            // If this fails too, the value expires.
            _ = Box::pin(self.withdraw_entry(keys, value)).await;
        }
        outcome
    }

    /// Makes one attempt. With a queue entry it is the last step of a wait, and removes the entry.
    async fn set_confirmed(
        &self,
        keys: &Keys<'_>,
        value: &str,
        ttl: Duration,
        entry: Option<&str>,
        mark: Mark,
    ) -> Result<SetReply, CacheError> {
        let names = [&keys.lock[..], &keys.fence(), &keys.queue, &keys.withdrawn(value)];
        let ttl_ms = millis(ttl);
        let args = [value, &ttl_ms, entry.unwrap_or_default()];
        let args = if entry.is_some() { &args[..] } else { &args[..2] };
        let set = Invocation { script: &SET, slot: keys.slot, keys: &names, args, mark };
        let (mut reply, confirmed) = self.run_confirmed(&set, |outcome| outcome == "stored").await?;
        Ok(SetReply { outcome: self.set_outcome(&mut reply, ttl)?, confirmed, retried: reply.retried })
    }

    fn set_outcome(&self, reply: &mut Reply, ttl: Duration) -> Result<SetOutcome, CacheError> {
        match &reply.outcome[..] {
            "stored" => {
                let (revision, left) = self.parsed((|| RedisResult::Ok((reply.number()?, reply.left()?)))())?;
                // Where the clock cannot show the end, a year is as good.
                let deadline = reply.deadline(left.unwrap_or(ttl)).or_else(|| reply.deadline(YEAR));
                Ok(SetOutcome::Stored(Stored { revision, deadline: deadline.unwrap_or(reply.reading.sent) }))
            }
            "occupied" => self.parsed(reply.entry()).map(SetOutcome::Occupied),
            "withdrawn" => Err(self.withdrawn()),
            _ => Err(self.translate(malformed())),
        }
    }

    /// Runs the script, and answers too whether enough replicas have confirmed it.
    async fn extend(
        &self,
        keys: &Keys<'_>,
        names: &[&str],
        args: &[&str],
    ) -> Result<(Reply, Result<(), CacheError>), CacheError> {
        let extend = Invocation { script: &EXTEND, slot: keys.slot, keys: names, args, mark: Mark::IfRetried };
        self.run_confirmed(&extend, |outcome| outcome == "extended").await
    }

    async fn replace(
        &self,
        keys: &Keys<'_>,
        names: &[&str],
        [value, replacement]: [&str; 2],
        ttl: Duration,
    ) -> Result<ExtendOutcome, CacheError> {
        let (reply, confirmed) = self.extend(keys, names, &[value, &millis(countable(ttl)?), replacement]).await?;
        confirmed?;
        self.extend_outcome(reply, ttl)
    }

    fn extend_outcome(&self, mut reply: Reply, lasts: Duration) -> Result<ExtendOutcome, CacheError> {
        match &reply.outcome[..] {
            "extended" => {
                let revision = self.parsed(reply.number())?;
                let deadline = reply.deadline(lasts).or_else(|| reply.deadline(YEAR)).unwrap_or(reply.reading.sent);
                Ok(ExtendOutcome::Extended(Stored { revision, deadline }))
            }
            "absent" => Ok(ExtendOutcome::Absent),
            "different" => Ok(ExtendOutcome::Different),
            "withdrawn" => Err(self.withdrawn()),
            _ => Err(self.translate(malformed())),
        }
    }

    async fn withdraw_entry(&self, keys: &Keys<'_>, value: &str) -> Result<(), CacheError> {
        let subscriptions = self.connection.subscriptions();
        let entry = subscriptions.abandoned_entry(&keys.queue, value);
        let names = [&keys.lock[..], &keys.fence(), &keys.queue, &keys.grace(), &keys.withdrawn(value)];
        let keep = millis(self.connection.longest_delay());
        let args = [value, entry.as_deref().unwrap_or_default(), &keep];
        let withdrawn = self.run(&WITHDRAW, keys, &names, &args).await.map(|_| ());
        // A withdrawal that is denied is not repeated.
        if !withdrawn.as_ref().is_err_and(|error| error.kind() == ErrorKind::Unavailable) {
            subscriptions.forget_entry(&keys.queue, value);
        }
        withdrawn
    }

    fn withdrawn(&self) -> CacheError {
        CacheError::withdrawn(self.connection.longest_delay())
    }

    fn parsed<T>(&self, fields: RedisResult<T>) -> Result<T, CacheError> {
        fields.map_err(|error| self.translate(error))
    }

    fn translate(&self, error: RedisError) -> CacheError {
        failure::translate(self.connection.address(), error)
    }
}

/// The answer to an attempt.
struct SetReply {
    outcome: SetOutcome,
    /// Whether enough replicas know of what was stored.
    confirmed: Result<(), CacheError>,
    /// Whether an earlier copy of the request was lost.
    retried: bool,
}

impl fmt::Debug for Redis {
    /// Where it is, and never with which login.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connection, prefix, default_ttl, replicas } = self;
        f.debug_struct("Redis")
            .field("address", &format_args!("{}", connection.address()))
            .field("prefix", prefix)
            .field("default_ttl", default_ttl)
            .field("replicas", replicas)
            .finish()
    }
}

#[async_trait]
impl Cache for Redis {
    async fn try_set(&self, key: &str, value: &str, ttl: Option<Duration>) -> Result<SetOutcome, CacheError> {
        self.set(&self.keys(key), value, countable(ttl.unwrap_or(self.default_ttl))?).await
    }

    async fn set_if_absent(
        &self,
        key: &str,
        value: &str,
        ttl: Option<Duration>,
        wait: Duration,
    ) -> Result<SetOutcome, CacheError> {
        if wait.is_zero() {
            return self.set(&self.keys(key), value, countable(ttl.unwrap_or(self.default_ttl))?).await;
        }
        // Boxed to keep the common future small.
        Box::pin(self.wait_in_queue(key, value, countable(ttl.unwrap_or(self.default_ttl))?, wait)).await
    }

    fn default_ttl(&self) -> Duration {
        self.default_ttl
    }

    fn is_fifo(&self) -> bool {
        true
    }

    async fn extend_if_equal(&self, key: &str, value: &str, ttl: Duration) -> Result<ExtendOutcome, CacheError> {
        let keys = self.keys(key);
        let sent = self.connection.late_extensions().send(&keys.lock, value, countable(ttl)?);
        let (reply, confirmed) = self.extend(&keys, &[&keys.lock], &[value, &millis(ttl)]).await?;
        let lasts = sent.answered(reply.retried);
        // The lock is still held, but it is not sure for how long.
        confirmed?;
        self.extend_outcome(reply, lasts)
    }

    async fn replace_if_equal(
        &self,
        key: &str,
        value: &str,
        replacement: &str,
        ttl: Duration,
    ) -> Result<ExtendOutcome, CacheError> {
        let keys = self.keys(key);
        self.replace(&keys, &[&keys.lock], [value, replacement], ttl).await
    }

    async fn delete_if_equal(&self, key: &str, value: &str) -> Result<DeleteOutcome, CacheError> {
        let keys = self.keys(key);
        let names = [&keys.lock[..], &keys.queue];
        let reply = self.run(&DELETE, &keys, &names, &[value]).await?;
        match &reply.outcome[..] {
            "deleted" => Ok(DeleteOutcome::Deleted),
            // A request whose reply was lost may have deleted the value, and another caller may have the key since.
            "different" if !reply.retried => Ok(DeleteOutcome::Different),
            "absent" | "different" => Ok(DeleteOutcome::Absent),
            _ => Err(self.translate(malformed())),
        }
    }

    async fn withdraw(&self, key: &str, value: &str) -> Result<(), CacheError> {
        self.withdraw_entry(&self.keys(key), value).await
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, CacheError> {
        let keys = self.keys(key);
        let mut reply = self.run(&GET, &keys, &[&keys.lock], &[]).await?;
        match &reply.outcome[..] {
            "found" => self.parsed(reply.entry()).map(Some),
            "absent" => Ok(None),
            _ => Err(self.translate(malformed())),
        }
    }

    async fn listen_for_change(&self, key: &str) -> Result<Change, CacheError> {
        self.listen_for_changes(key).await
    }

    async fn announce_revocation(&self, key: &str, revision: u64) -> Result<(), CacheError> {
        self.publish_revocation(key, revision).await
    }

    async fn listen_for_revocation(&self, key: &str, revision: u64) -> Option<Revocation> {
        self.subscribe_to_revocations(key, revision).await
    }

    async fn keys(&self) -> Result<Vec<String>, CacheError> {
        let keys: Vec<Vec<u8>> = self.connection.execute(&Request::Keys(&keys::pattern(&self.prefix))).await?;
        Ok(keys.iter().filter_map(|key| keys::name(&self.prefix, key)).collect())
    }

    async fn check(&self) -> Vec<Finding> {
        self.findings().await
    }
}

#[async_trait]
impl QuorumMember for Redis {
    async fn watch(&self, key: &str, timeout: Duration) -> Result<(), CacheError> {
        self.watch_key(key, timeout).await
    }

    async fn vote(&self, key: &str, vote: Vote<'_>) -> Result<VoteOutcome, CacheError> {
        let (keys, ttl) = (self.keys(key), countable(vote.ttl)?);
        let names = [&keys.lock[..], &keys.fence(), &keys.withdrawn(vote.value), &keys.resumed(vote.value)];
        let (fence, keep) = (countable_fence(vote.revision)?, millis(self.connection.longest_delay()));
        let args = [vote.value, &millis(ttl), &fence, &vote.since.to_string(), &keep];
        let mut reply = self.run(&VOTE, &keys, &names, &args).await?;
        if reply.outcome == "outdated" {
            return self.parsed(reply.number()).map(VoteOutcome::Outdated);
        }
        if reply.outcome == "occupied" && reply.retried {
            // An earlier copy may still arrive, when the key is free.
            self.withdraw_vote(key, vote.value, vote.since..=vote.revision).await?;
        }
        self.set_outcome(&mut reply, ttl).map(|outcome| match outcome {
            SetOutcome::Stored(stored) => VoteOutcome::Stored(stored),
            SetOutcome::Occupied(entry) => VoteOutcome::Occupied(entry),
        })
    }

    async fn withdraw_vote(&self, key: &str, value: &str, revisions: RangeInclusive<u64>) -> Result<(), CacheError> {
        let (keys, first, last) = (self.keys(key), revisions.start().to_string(), countable_fence(*revisions.end())?);
        let names = [&keys.lock[..], &keys.fence(), &keys.queue, &keys.grace(), &keys.resumed(value)];
        self.run(&WITHDRAW_VOTE, &keys, &names, &[value, &first, &last]).await.map(|_| ())
    }

    async fn replace_vote(
        &self,
        key: &str,
        value: &str,
        replacement: &str,
        ttl: Duration,
    ) -> Result<ExtendOutcome, CacheError> {
        let keys = self.keys(key);
        self.replace(&keys, &[&keys.lock, &keys.withdrawn(replacement)], [value, replacement], ttl).await
    }

    async fn restore(&self, key: &str, value: &str, ttl: Duration, revision: u64) -> Result<SetOutcome, CacheError> {
        let (keys, ttl) = (self.keys(key), countable(ttl)?);
        let names = [&keys.lock[..], &keys.fence(), &keys.withdrawn(value)];
        let args = [value, &millis(ttl), &countable_fence(revision)?];
        let mut reply = self.run(&RESTORE, &keys, &names, &args).await?;
        self.set_outcome(&mut reply, ttl)
    }
}

/// A time to live that the server can count. One that it cannot would fail in the middle of a script.
fn countable(ttl: Duration) -> Result<Duration, CacheError> {
    // Scripts count milliseconds as doubles.
    const MOST: Duration = Duration::from_millis(1 << 52);
    if ttl > MOST {
        return Err(CacheError::new(
            ErrorKind::Invalid,
            format!("a time to live of {ttl:?} is more than Redis can count"),
        ));
    }
    Ok(ttl)
}

/// A fence that the server can compare: scripts count with doubles.
fn countable_fence(fence: u64) -> Result<String, CacheError> {
    const MOST: u64 = 1 << 53;
    if fence >= MOST {
        return Err(CacheError::new(ErrorKind::Invalid, format!("a fence of {fence} is more than Redis can count")));
    }
    Ok(fence.to_string())
}

fn millis(duration: Duration) -> String {
    millis_ceil(duration).to_string()
}
