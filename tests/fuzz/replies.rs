//! A hostile Redis: a server that answers each request with anything.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use locker_host::cache::{DeleteOutcome, Entry, ExtendOutcome, SetOutcome};

use locker_host::{Cache, CacheError, Error, ErrorKind, Limits, LockOptions, Locker, Redis};
use rstest::rstest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet, LocalSet};
use tokio::time::timeout;

use super::driver::{fuzz_part, replay_part};
use super::shown;

/// How long the server is silent before it gives up a client.
const SILENCE: Duration = Duration::from_millis(5);
const DEADLINE: Duration = Duration::from_millis(100);
const WAIT: Duration = Duration::from_millis(20);
/// So many servers are hostile at a time: they mostly wait.
const AT_A_TIME: usize = 16;

const PASSWORD: &str = "hunter2";
const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// A server with a list of replies, one for each request, over and over.
///
/// The replies are separated by lines of `---`. For `{request}` in them stands what was asked, for `{port}` the server's own.
/// An empty reply closes the connection, and `...` is no reply at all. The greeting of each connection is answered as
/// Redis does, unless `rude` is the first of the replies.
struct Hostile {
    port: u16,
    task: JoinHandle<()>,
}

impl Hostile {
    async fn start(input: &[u8]) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let replies = Arc::new(Replies::new(input, port));
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(serve(client, replies.clone()));
            }
        });
        Self { port, task }
    }

    fn redis(&self, scheme: &str, path: &str) -> Redis {
        Redis::open(&format!("{scheme}://user:{PASSWORD}@127.0.0.1:{}{path}", self.port)).unwrap()
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Replies {
    rude: bool,
    list: Vec<Vec<u8>>,
    next: AtomicUsize,
}

impl Replies {
    fn new(input: &[u8], port: u16) -> Self {
        let mut list = split(input, b"\n---\n");
        let rude = list.len() > 1 && list[0] == b"rude";
        if rude {
            list.remove(0);
        }
        let list = list.iter().map(|reply| replace(reply, b"{port}", port.to_string().as_bytes())).collect();
        Self { rude, list, next: AtomicUsize::new(0) }
    }

    fn next(&self, request: &[u8]) -> Vec<u8> {
        let reply = &self.list[self.next.fetch_add(1, Ordering::Relaxed) % self.list.len()];
        let line: Vec<_> = request.iter().map(|byte| if byte.is_ascii_control() { b' ' } else { *byte }).collect();
        replace(reply, b"{request}", &line)
    }
}

async fn serve(mut client: TcpStream, replies: Arc<Replies>) -> Option<()> {
    let mut request = vec![0; 16 << 10];
    loop {
        let read = timeout(SILENCE, client.read(&mut request)).await.ok()?.ok().filter(|read| *read > 0)?;
        let request = &request[..read];
        let greets = split(request, b"HELLO").len() > 1;
        let reply = if greets && !replies.rude { GREETING.to_vec() } else { replies.next(request) };
        match &reply[..] {
            b"" => return None,
            b"..." => std::future::pending().await,
            reply => client.write_all(reply).await.ok()?,
        }
    }
}

const GREETING: &[u8] = b"%3\r\n+server\r\n+redis\r\n+version\r\n+7.0.0\r\n+proto\r\n:3\r\n";

fn split(bytes: &[u8], separator: &[u8]) -> Vec<Vec<u8>> {
    let mut parts = vec![Vec::new()];
    let mut rest = bytes;
    while let Some((first, others)) = rest.split_first() {
        if let Some(others) = rest.strip_prefix(separator) {
            parts.push(Vec::new());
            rest = others;
        } else {
            parts.last_mut().unwrap().push(*first);
            rest = others;
        }
    }
    parts
}

fn replace(bytes: &[u8], word: &[u8], with: &[u8]) -> Vec<u8> {
    split(bytes, word).join(with)
}

/// A locker whose locks lie on a server each.
struct World {
    locker: Locker,
    servers: Servers,
}

#[derive(Clone, Default)]
struct Servers(Arc<Mutex<HashMap<String, Redis>>>);

impl World {
    fn new() -> Self {
        let servers = Servers::default();
        let limits = Limits { deadline: DEADLINE, ..Limits::default() };
        Self { locker: Locker::with_limits(servers.clone(), limits).unwrap(), servers }
    }

    /// Whatever the server answers, each call ends with an answer or an error that tells no secret.
    async fn judge(&self, redis: Redis) {
        static NAMES: AtomicUsize = AtomicUsize::new(0);
        let name = &NAMES.fetch_add(1, Ordering::Relaxed).to_string();
        self.servers.0.lock().unwrap().insert(name.clone(), redis.clone());
        let options = LockOptions::default().owner("me");
        judge(self.locker.lock(name, options.clone()).await);
        judge(self.locker.lock(name, options.wait(WAIT)).await);
        judge(self.locker.extend(name, TOKEN, WAIT).await);
        judge(self.locker.inspect(name).await);
        judge(self.locker.unlock(name, TOKEN).await);
        // The time of a list depends on the size of the store.
        if let Ok(keys) = timeout(DEADLINE, redis.keys()).await {
            judge(keys.map_err(Error::from));
        }
        self.servers.0.lock().unwrap().remove(name);
    }
}

fn judge<T>(answer: Result<T, Error>) {
    let Err(error) = answer else { return };
    let kinds = [ErrorKind::Unavailable, ErrorKind::Denied, ErrorKind::Invalid, ErrorKind::Expired];
    let shown = shown(&error);
    assert!(kinds.contains(&error.kind()), "{shown}");
    assert!(!shown.contains(PASSWORD) && !tells_token(&shown), "{shown}");
    assert!(!error.to_string().chars().any(char::is_control), "{error}");
}

/// Whether a token is in it, or much of one.
fn tells_token(text: &str) -> bool {
    text.split(|char: char| !char.is_ascii_hexdigit()).any(|digits| digits.len() >= TOKEN.len() / 2)
}

impl Servers {
    fn of(&self, key: &str) -> Result<Redis, CacheError> {
        let redis = self.0.lock().unwrap().get(key).cloned();
        redis.ok_or_else(|| CacheError::new(ErrorKind::Unavailable, "the server is no more"))
    }
}

#[async_trait]
impl Cache for Servers {
    async fn try_set(&self, key: &str, value: &str, ttl: Option<Duration>) -> Result<SetOutcome, CacheError> {
        self.of(key)?.try_set(key, value, ttl).await
    }

    async fn extend_if_equal(&self, key: &str, value: &str, ttl: Duration) -> Result<ExtendOutcome, CacheError> {
        self.of(key)?.extend_if_equal(key, value, ttl).await
    }

    async fn delete_if_equal(&self, key: &str, value: &str) -> Result<DeleteOutcome, CacheError> {
        self.of(key)?.delete_if_equal(key, value).await
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, CacheError> {
        self.of(key)?.get(key).await
    }

    async fn set_if_absent(
        &self,
        key: &str,
        value: &str,
        ttl: Option<Duration>,
        wait: Duration,
    ) -> Result<SetOutcome, CacheError> {
        self.of(key)?.set_if_absent(key, value, ttl, wait).await
    }
}

#[tokio::test]
async fn any_reply_of_a_server_is_survived() {
    let (world, here, mut parts) = (Rc::new(World::new()), LocalSet::new(), JoinSet::new());
    for part in 0..AT_A_TIME {
        let world = world.clone();
        parts.spawn_local_on(
            fuzz_part("replies", part, AT_A_TIME, async move |bytes: &[u8]| {
                let server = Hostile::start(bytes).await;
                world.judge(server.redis("redis", "")).await;
            }),
            &here,
        );
    }
    here.run_until(parts.join_all()).await;
}

/// What is hand-made, as of the nodes of a cluster, of sentinels, and of a server that should wait for replicas: chance might name
/// servers of others, to whom they lead.
#[rstest]
#[case::a_cluster("redis+cluster", "")]
#[case::sentinels("redis+sentinel", "/main")]
#[case::replicas("redis", "?wait-replicas=1")]
#[tokio::test]
async fn a_reply_of_a_server_that_is_more_than_one(#[case] scheme: &'static str, #[case] path: &'static str) {
    let (world, here, mut parts) = (Rc::new(World::new()), LocalSet::new(), JoinSet::new());
    for part in 0..AT_A_TIME {
        let world = world.clone();
        parts.spawn_local_on(
            replay_part("replies", part, AT_A_TIME, async move |bytes: &[u8]| {
                let server = Hostile::start(bytes).await;
                world.judge(server.redis(scheme, path).timeout(DEADLINE)).await;
            }),
            &here,
        );
    }
    here.run_until(parts.join_all()).await;
}
