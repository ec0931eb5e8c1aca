//! A store in Redis.
//!
//! # Layout
//!
//! - `address`: what a URL says; `connection`: one connection for all calls, through a `link` to a server or a cluster.
//! - `ask`: what a server is asked, and when it is asked again; `failure`: what its errors mean.
//! - `keys`: which Redis keys belong to a key of the cache.
//! - `*.lua`: the atomic steps; each file says what it takes and returns. `script`: how one of them is run.
//! - `line`: waiting in line for a key, until its last holder hands it over.
//! - `wakeups`: who of this process listens to what the server publishes.

mod address;
mod ask;
mod connection;
mod failure;
mod keys;
mod line;
mod link;
mod script;
mod wakeups;

use std::fmt;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use redis::{FromRedisValue, Value, cmd};

use crate::call::whole_millis;
use crate::{Cache, CacheError, Delete, Entry, Error, ErrorKind, Extend, Set, Stored};
use address::Address;
use ask::{Answer, Step};
use connection::{Connection, Settings};
use script::{Script, script};
use wakeups::Listener;

static SET_IF_ABSENT: LazyLock<Script> = script!("fence.lua", "set.lua", "set_if_absent.lua");
static EXTEND_IF_EQUAL: LazyLock<Script> = script!("fence.lua", "place.lua", "extend_if_equal.lua");
static DELETE_IF_EQUAL: LazyLock<Script> = script!("fence.lua", "place.lua", "delete_if_equal.lua");
static RAISE: LazyLock<Script> = script!("raise.lua");
static GET: LazyLock<Script> = script!("get.lua");

/// How much longer than its key a fence is kept. After that the server's clock alone makes it rise.
const FENCE_KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// A store in Redis 6 or later, shared by all who use the same server, database and prefix.
///
/// Clones share one connection. It is made when it is first needed, and made anew after it broke.
///
/// A key is the prefix, `lock:` by default, and the lock's name. Its revision lies under a key of its own, in the same
/// cluster slot, for a day longer than the key. So does the line of those who wait for it, while there are any: a release
/// hands the key to the first of them.
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
    pub async fn connect(url: &str) -> Result<Self, Error> {
        let redis = Self::open(url)?;
        redis.ping().await?;
        Ok(redis)
    }

    /// A store at `url` that is connected to when it is first used.
    ///
    /// - `redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]`: one server. `redis+unix:///PATH`: one on this machine.
    /// - `redis+cluster://[USER:PASSWORD@]HOST[:PORT],HOST...`: a cluster; naming a few of its nodes is enough.
    /// - `redis+sentinel://[USER:PASSWORD@]HOST[:PORT],HOST.../NAME[/DATABASE]`: the primary that the sentinels know as
    ///   `NAME`. The login is for the sentinels too.
    ///
    /// With `rediss` for `redis`, over TLS. With `?wait-replicas=N` at the end, as [`Redis::wait_replicas`] says.
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
    pub fn open(url: &str) -> Result<Self, Error> {
        let (url, replicas) = address::split_replicas(url);
        let (address, replicas) = replicas
            .and_then(|replicas| Ok((Address::parse(url)?, replicas)))
            .map_err(|why| Error::new(ErrorKind::Invalid, format!("the cache's URL cannot be used: {why}")))?;
        let settings = Settings { patience: Duration::from_secs(5), authority: None };
        Ok(Self {
            connection: Arc::new(Connection::new(Arc::new(address), settings)),
            prefix: Arc::from("lock:"),
            default_ttl: Duration::from_secs(30),
            replicas,
        })
    }

    /// Waits for a connection, and for an answer, this long instead of 5 seconds. Less than a server may need to write
    /// to its disk makes errors of what is merely slow.
    #[must_use]
    pub fn timeout(mut self, patience: Duration) -> Self {
        self.connection = Arc::new(self.connection.with(|settings| settings.patience = patience));
        self
    }

    /// Trusts the certificates in `pem` instead of those that the system trusts.
    #[must_use]
    pub fn authority(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.connection = Arc::new(self.connection.with(|settings| settings.authority = Some(pem.into())));
        self
    }

    /// Keeps all keys under `prefix` instead of `lock:`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if it has control characters, or a `{` that does not open a whole cluster hash tag.
    pub fn prefix(mut self, prefix: &str) -> Result<Self, Error> {
        if !keys::is_fit(prefix) {
            let message = "a prefix must have no control characters, and no '{' but in a whole hash tag like {app}";
            return Err(Error::new(ErrorKind::Invalid, message));
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
    /// is not confirmed within a second is given back; a lock whose extension is not confirmed is still held, but the
    /// call fails with [`ErrorKind::Unavailable`]. A failover to one of them then keeps the lock. While the server
    /// waits for its replicas, other calls through the same connection wait too.
    #[must_use]
    pub fn wait_replicas(mut self, replicas: u32) -> Self {
        self.replicas = replicas;
        self
    }

    async fn ping(&self) -> Result<(), CacheError> {
        self.connection.ask(&Step::Command(&cmd("PING"))).await.map(|Answer { value: (), .. }| ())
    }

    async fn run<T: FromRedisValue>(
        &self,
        script: &Script,
        keys: &[&str],
        args: &[&str],
    ) -> Result<Answer<T>, CacheError> {
        self.connection.ask(&Step::Script(&script.on(keys, args))).await
    }

    /// Like `run`, for a script that may write, which is so if `wrote` says so of its answer. Then it tells too whether
    /// enough replicas have confirmed the write.
    async fn run_confirmed<T: FromRedisValue>(
        &self,
        script: &Script,
        keys: &[&str],
        args: &[&str],
        wrote: fn(&Value) -> bool,
    ) -> Result<(T, Result<(), CacheError>), CacheError> {
        if self.replicas == 0 {
            return Ok((self.run(script, keys, args).await?.value, Ok(())));
        }
        let (address, asked) = (self.connection.address(), self.replicas);
        let step = Step::Confirmed {
            invocation: &script.on(keys, args),
            wrote,
            slot: keys::slot_of(keys[0]),
            replicas: asked,
        };
        let (answer, confirmed): (T, u32) = self.connection.ask(&step).await?.value;
        if confirmed >= asked {
            return Ok((answer, Ok(())));
        }
        let message = format!("{address}: {confirmed} replicas have confirmed, and {asked} were asked for");
        Ok((answer, Err(CacheError::new(ErrorKind::Unavailable, message))))
    }

    /// The keys of a lock: its own and its fence's.
    fn keys(&self, name: &str) -> (String, String) {
        (keys::lock(&self.prefix, name), keys::fence(&self.prefix, name))
    }

    /// The key of a lock's line.
    fn line(&self, name: &str) -> String {
        keys::line(&self.prefix, name)
    }

    fn listen(&self, channel: &str, value: Option<&str>) -> Listener {
        let connection = self.connection.clone();
        let runtime = tokio::runtime::Handle::current();
        self.connection.wakeups().listen(channel, value, move |channel| {
            runtime.spawn(async move { connection.desert(&channel).await });
        })
    }

    /// Sees to it that the server tells a listener. Where that is so already, it is not asked.
    async fn subscribe(&self, channel: &str, listener: &Listener) -> Result<(), CacheError> {
        let mut subscribed = listener.gate().lock().await;
        let before = self.connection.generation();
        if before.is_some() && *subscribed == before {
            return Ok(());
        }
        let Answer { value: (), .. } = self.connection.ask(&Step::Subscribe(channel)).await?;
        // If the connection was changed meanwhile, nobody knows through which one it was.
        *subscribed = before.filter(|_| before == self.connection.generation());
        Ok(())
    }
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
    async fn set_if_absent(&self, name: &str, value: &str, ttl: Option<Duration>) -> Result<Set, CacheError> {
        let (key, fence) = self.keys(name);
        let ttl = countable(ttl.unwrap_or(self.default_ttl))?;
        let args = [value, &millis(ttl), &millis(ttl.saturating_add(FENCE_KEPT))];
        let stored = |answer: &Value| answer.as_sequence().is_some_and(|answer| answer.get(2) == Some(&Value::Nil));
        let ((revision, left, other), confirmed): ((u64, i64, Option<Vec<u8>>), _) =
            self.run_confirmed(&SET_IF_ABSENT, &[&key, &fence], &args, stored).await?;
        if let Err(unconfirmed) = confirmed {
            // If this fails too, the value expires.
            _ = self.delete_if_equal(name, value).await;
            return Err(unconfirmed);
        }
        Ok(match other {
            Some(other) => Set::Occupied(entry(&other, revision, left)),
            // If it was asked again, this counts from the time that was left then, and is all the safer.
            None => Set::Stored(Stored { revision, ttl: remaining(left).unwrap_or(ttl) }),
        })
    }

    async fn extend_if_equal(&self, key: &str, value: &str, ttl: Duration) -> Result<Extend, CacheError> {
        let (line, (key, fence)) = (self.line(key), self.keys(key));
        let ttl = countable(ttl)?;
        let args = [value, &millis(ttl), &millis(ttl.saturating_add(FENCE_KEPT))];
        let wrote = |answer: &Value| answer.as_sequence().is_some_and(|answer| answer.first() == Some(&Value::Int(1)));
        let ((extended, revision), confirmed): ((i8, u64), _) =
            self.run_confirmed(&EXTEND_IF_EQUAL, &[&key, &fence, &line], &args, wrote).await?;
        // The lock is still held, but it is not sure for how long.
        confirmed?;
        Ok(match extended {
            1 => Extend::Extended(Stored { revision, ttl }),
            0 => Extend::Absent,
            _ => Extend::Different,
        })
    }

    async fn delete_if_equal(&self, key: &str, value: &str) -> Result<Delete, CacheError> {
        let (line, (key, fence)) = (self.line(key), self.keys(key));
        let Answer { value: deleted, lost } =
            self.run::<i8>(&DELETE_IF_EQUAL, &[&key, &fence, &line], &[value]).await?;
        Ok(match deleted {
            1 => Delete::Deleted,
            // Whose answer was lost may have deleted the key, and another may have set it since.
            -1 if !lost => Delete::Different,
            _ => Delete::Absent,
        })
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, CacheError> {
        let (key, fence) = self.keys(key);
        let (present, revision, left): (Option<Vec<u8>>, u64, i64) = self.run(&GET, &[&key, &fence], &[]).await?.value;
        Ok(present.map(|present| entry(&present, revision, left)))
    }

    async fn wait_until_absent(&self, key: &str, timeout: Duration) -> Result<(), CacheError> {
        let started = Instant::now();
        let key = keys::lock(&self.prefix, key);
        let listener = self.listen(&key, None);
        self.subscribe(&key, &listener).await?;
        // Only now can no deletion be missed any more, so only now is it worth a look.
        let left: i64 = self.connection.ask(&Step::Command(cmd("PTTL").arg(&key))).await?.value;
        const ABSENT: i64 = -2;
        if left != ABSENT {
            let patience = timeout.saturating_sub(started.elapsed());
            let nap = remaining(left).map_or(patience, |left| patience.min(left));
            _ = tokio::time::timeout(nap, listener.woken()).await;
        }
        Ok(())
    }

    async fn wait_to_set(
        &self,
        key: &str,
        value: &str,
        ttl: Option<Duration>,
        timeout: Duration,
    ) -> Result<Option<Stored>, CacheError> {
        self.wait_in_line(key, value, countable(ttl.unwrap_or(self.default_ttl))?, timeout).await
    }

    async fn leave(&self, key: &str, value: &str) -> Result<(), CacheError> {
        self.leave_line(&self.line(key), value).await
    }

    async fn keys(&self) -> Result<Vec<String>, CacheError> {
        let keys: Vec<Vec<u8>> = self.connection.ask(&Step::Keys(&keys::pattern(&self.prefix))).await?.value;
        Ok(keys.iter().filter_map(|key| keys::name(&self.prefix, key)).collect())
    }

    async fn raise(&self, key: &str, value: &str, revision: u64) -> Result<bool, CacheError> {
        let (key, fence) = self.keys(key);
        let args = [value, &revision.to_string(), &millis(FENCE_KEPT)];
        let raised: u8 = self.run(&RAISE, &[&key, &fence], &args).await?.value;
        Ok(raised == 1)
    }
}

/// What lies under a key. Bytes that are no text are a stranger's, and nobody compares them here.
fn entry(present: &[u8], revision: u64, left: i64) -> Entry {
    Entry { value: String::from_utf8_lossy(present).into_owned(), revision, ttl: remaining(left) }
}

/// A remaining time as Redis tells it: negative if the key never expires.
fn remaining(left: i64) -> Option<Duration> {
    u64::try_from(left).ok().map(Duration::from_millis)
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

fn millis(duration: Duration) -> String {
    whole_millis(duration).to_string()
}
