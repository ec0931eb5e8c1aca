//! The seam to servers: requests in, replies and pushes out. The stores' logic is above it, sockets are below it.

use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, FromRedisValue, RedisFuture, RedisResult, Value, cmd};

/// A connection to one server or to a cluster. All requests of a store share it.
pub trait Client: Send + Sync {
    /// Sends a command and resolves with the reply. Commands take effect in the order in which they are sent.
    ///
    /// A cluster's primary of the hash `slot` gets the command. Without a slot, all primaries get `PING` and `SCRIPT`, and some node gets other commands. A
    /// single server gets all commands.
    ///
    /// # Errors
    /// An I/O error of the kind `TimedOut` when the timeout of [`Connector::connect`] has passed, and of another kind if the connection
    /// broke. An error of the server may also be the reply.
    fn send<'a>(&'a self, command: &'a Cmd, slot: Option<u16>) -> RedisFuture<'a, Value>;

    /// Makes the server push the messages of a channel. The connection to a cluster subscribes again by itself after it broke.
    ///
    /// # Errors
    /// As [`Client::send`].
    fn subscribe<'a>(&'a self, channel: &'a str) -> RedisFuture<'a, ()>;

    /// Ends a subscription.
    ///
    /// # Errors
    /// As [`Client::send`].
    fn unsubscribe<'a>(&'a self, channel: &'a str) -> RedisFuture<'a, ()>;
}

/// Makes connections, when they are first needed and after they broke.
///
/// ```
/// use std::io::{Error, ErrorKind::ConnectionRefused};
/// use std::sync::Arc;
/// use std::time::Duration;
/// use locker_host::simulation::{Client, Connector, Pushes};
/// use locker_host::{Locker, Redis};
///
/// struct Away;
///
/// impl Connector for Away {
///     fn connect(&self, _timeout: Duration, _pushes: Pushes) -> redis::RedisFuture<'_, Arc<dyn Client>> {
///         Box::pin(async { Err(Error::from(ConnectionRefused).into()) })
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), locker_host::Error> {
/// let locker = Locker::new(Redis::open("redis://away")?.connector(Arc::new(Away)))?;
/// assert!(locker.lock("job", Duration::from_secs(30)).await.is_err());
/// # Ok(())
/// # }
/// ```
pub trait Connector: Send + Sync + 'static {
    /// Connects and logs in. The connection passes what servers push to `pushes`, in the order in which it arrives among replies. Requests
    /// of the connection fail after `timeout`.
    ///
    /// # Errors
    /// An I/O error if no server can be reached within `timeout`, or an error of the server.
    fn connect(&self, timeout: Duration, pushes: Pushes) -> RedisFuture<'_, Arc<dyn Client>>;
}

/// Takes what servers push.
pub type Pushes = Arc<dyn Fn(Push<'_>) + Send + Sync>;

/// What a server sends without being asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Push<'a> {
    /// A message on a channel that the connection is subscribed to.
    Message {
        /// The channel.
        channel: &'a [u8],
        /// What was published.
        message: &'a [u8],
    },
    /// The connection broke; one to a node, if it is a cluster. Messages may be lost.
    Disconnected,
}

/// Sends a command to the primary of a slot, or where it belongs.
pub(super) async fn query<T: FromRedisValue>(client: &dyn Client, command: &Cmd, slot: Option<u16>) -> RedisResult<T> {
    Ok(T::from_redis_value(client.send(command, slot).await?.extract_error()?)?)
}

/// How long a server waits for its replicas, in milliseconds.
const CONFIRMATION_MS: u64 = 1000;

/// How many replicas have confirmed what was written through this connection to a slot, once it is this many or a
/// second has passed.
pub(super) async fn confirmations(client: &dyn Client, replicas: u32, slot: u16) -> RedisResult<i64> {
    let mut wait = cmd("WAIT");
    wait.arg(replicas).arg(CONFIRMATION_MS);
    query(client, &wait, Some(slot)).await
}

/// All keys that match a pattern and hold text, some of them twice perhaps. Servers go on serving others meanwhile.
pub(super) async fn keys(client: &dyn Client, is_cluster: bool, pattern: &str) -> RedisResult<Value> {
    let mut keys = Vec::new();
    for slot in if is_cluster { primaries(client).await? } else { vec![0] } {
        let mut cursor = 0;
        loop {
            let mut scan = cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(1000).arg("TYPE").arg("string");
            let found: Vec<Value>;
            (cursor, found) = query(client, &scan, Some(slot)).await?;
            keys.extend(found);
            if cursor == 0 {
                break;
            }
        }
    }
    Ok(Value::Array(keys))
}

/// Some slot of each primary.
async fn primaries(client: &dyn Client) -> RedisResult<Vec<u16>> {
    let ranges: Vec<Vec<Value>> = query(client, cmd("CLUSTER").arg("SLOTS"), None).await?;
    let (mut primaries, mut slots) = (Vec::new(), Vec::new());
    for range in ranges {
        // First and last slot, the primary, its replicas.
        if let [Value::Int(first), _, primary, ..] = &range[..]
            && !primaries.contains(primary)
        {
            primaries.push(primary.clone());
            slots.extend(u16::try_from(*first));
        }
    }
    Ok(slots)
}
