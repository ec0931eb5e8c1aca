//! A private Redis server on a port of its own.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use locker_host::{Error, LockOptions, LockOutcome, Locker, Redis};
use nix::unistd::Pid;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisResult};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::{Host, until, until_elected};

pub(crate) type Waiter = JoinHandle<Result<LockOutcome, Error>>;

pub(crate) struct RedisServer {
    child: Child,
    /// Where it runs, unless it shares the network of the test.
    host: Option<Arc<Host>>,
    port: u16,
    /// Where it keeps what it writes.
    folder: TempDir,
    settings: Vec<String>,
}

impl RedisServer {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| Vec::new()).await
    }

    /// Starts a server with some more settings, which may need its folder.
    pub(crate) async fn start_with(settings: impl Fn(&Path) -> Vec<String>) -> Self {
        Self::start_on(None, settings).await
    }

    /// Starts a server on a host of its own, or in the network of the test.
    pub(crate) async fn start_on(host: Option<Arc<Host>>, settings: impl Fn(&Path) -> Vec<String>) -> Self {
        // Another program may take the port between our look and the server's start: then try another one.
        for _ in 0..5 {
            let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
            let settings = settings(folder.path());
            let child = spawn(host.as_deref(), port, &folder, &settings);
            let mut server = Self { child, host: host.clone(), port, folder, settings };
            if server.is_up().await {
                return server;
            }
        }
        panic!("redis-server does not start");
    }

    /// Starts a sentinel that watches as `configuration` says.
    pub(crate) async fn start_sentinel(host: Option<Arc<Host>>, configuration: &str) -> Self {
        Self::start_on(host, |folder| {
            let file = folder.join("sentinel.conf");
            std::fs::write(&file, configuration).unwrap();
            vec![file.display().to_string(), "--sentinel".to_owned()]
        })
        .await
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().unwrap())
    }

    /// The host that it has for itself.
    pub(crate) fn host(&self) -> &Host {
        self.host.as_deref().expect("it was started on a host")
    }

    pub(crate) fn address(&self) -> &str {
        address(self.host.as_deref())
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}:{}", self.address(), self.port)
    }

    pub(crate) fn redis(&self) -> Redis {
        Redis::open(&self.url()).unwrap()
    }

    pub(crate) fn locker(&self) -> Locker {
        Locker::new(self.redis()).unwrap()
    }

    /// A plain connection, to look behind the scenes.
    async fn plain(&self) -> RedisResult<MultiplexedConnection> {
        // The usual half a second is not enough for a server that starts beside many others.
        let patient = Some(Duration::from_secs(20));
        let config = AsyncConnectionConfig::new().set_connection_timeout(patient).set_response_timeout(patient);
        // A socket in the file system is there on either side of a partition.
        let socket = || format!("unix://{}", socket(&self.folder).display());
        let client = redis::Client::open(if self.host.is_some() { socket() } else { self.url() }).unwrap();
        client.get_multiplexed_async_connection_with_config(&config).await
    }

    /// Runs a command and answers what the server does.
    pub(crate) async fn run<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = redis::cmd(words[0]);
        words[1..].iter().for_each(|word| _ = command.arg(*word));
        let attempt = async || command.query_async(&mut self.plain().await?).await;
        match attempt().await {
            // A server that changes its role cuts its connections.
            Err(error) if error.is_connection_dropped() => attempt().await,
            answer => answer,
        }
        .unwrap()
    }

    /// All keys, sorted.
    pub(crate) async fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = self.run(&["KEYS", "*"]).await;
        keys.sort();
        keys
    }

    /// The channels with subscribers.
    pub(crate) async fn channels(&self) -> Vec<String> {
        self.run(&["PUBSUB", "CHANNELS"]).await
    }

    /// How many callers are queued for a lock.
    pub(crate) async fn queued(&self, name: &str) -> u64 {
        self.run(&["ZCARD", &key_of("queue", name)]).await
    }

    /// The entries of a lock's queue, each as client, time to live and token.
    pub(crate) async fn entries(&self, name: &str) -> Vec<[String; 3]> {
        let entries: Vec<String> = self.run(&["ZRANGE", &key_of("queue", name), "0", "-1"]).await;
        let fields = |entry: String| entry.split('\u{1f}').map(str::to_owned).collect::<Vec<_>>();
        entries.into_iter().map(|entry| fields(entry).try_into().expect("an entry has three fields")).collect()
    }

    /// The token and the fence under a lock's key.
    pub(crate) async fn stored(&self, name: &str) -> Option<(String, u64)> {
        let value: Option<String> = self.run(&["GET", &format!("lock:{name}")]).await;
        let (token, fence) = value.as_deref()?.split_once('\u{1f}').expect("a value has a fence");
        Some((token.to_owned(), fence.parse().unwrap()))
    }

    /// A caller that waits for the lock `job`, and is queued by now.
    pub(crate) async fn waiter(&self, locker: Locker, options: LockOptions) -> Waiter {
        let before = self.queued("job").await;
        let waiter = tokio::spawn(async move { locker.lock("job", options).await });
        until(async || self.queued("job").await == before + 1).await;
        waiter
    }

    /// Makes this a replica of another server, and waits until it keeps up.
    pub(crate) async fn follow(&self, primary: &Self) {
        () = self.run(&["REPLICAOF", primary.address(), &primary.port().to_string()]).await;
        self.replicates("master_link_status:up").await;
    }

    /// Waits until this is so of the server's part in a replication.
    #[track_caller]
    pub(crate) fn replicates(&self, state: &str) -> impl Future<Output = ()> {
        until_elected(async move || self.run::<String>(&["INFO", "replication"]).await.contains(state))
    }

    /// Ends the server at once, as a crash would. It forgets everything.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts a killed server again on the same port.
    pub(crate) async fn start_again(&mut self) {
        self.start_again_with(&[]).await;
    }

    /// Starts a killed server again with some more settings.
    pub(crate) async fn start_again_with(&mut self, settings: &[&str]) {
        self.settings.extend(settings.iter().map(ToString::to_string));
        self.child = spawn(self.host.as_deref(), self.port, &self.folder, &self.settings);
        assert!(self.is_up().await, "redis-server does not start again");
    }

    async fn is_up(&mut self) -> bool {
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(20) {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            // What answers may also be another program that took the port, or one that had it for a moment.
            if let Ok(mut connection) = self.plain().await
                && let Ok(info) = redis::cmd("INFO").arg("server").query_async::<String>(&mut connection).await
            {
                return info.contains(&format!("process_id:{}\r", self.child.id()));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        false
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// A key of Locker's own that belongs to a lock, as docs/protocol.md specifies it.
pub(crate) fn key_of(what: &str, name: &str) -> String {
    let slot = slot_of(&format!("lock:{name}"));
    let tag = (0_u32..).find(|tag| slot_of(&tag.to_string()) == slot).unwrap();
    let name = if ["fence", "client", "wake"].contains(&what) { "" } else { name };
    format!("lock:\u{1f}{what}{{{tag}}}{name}")
}

/// The hash slot of a key, as the cluster specification has it.
fn slot_of(key: &str) -> u16 {
    let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(tag, _)| tag);
    let crc = tag.filter(|tag| !tag.is_empty()).unwrap_or(key).bytes().fold(0_u16, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 })
    });
    crc % 16384
}

/// A port that is free for now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

fn address(host: Option<&Host>) -> &str {
    host.map_or("127.0.0.1", Host::address)
}

fn socket(folder: &TempDir) -> PathBuf {
    folder.path().join("socket")
}

fn spawn(host: Option<&Host>, port: u16, folder: &TempDir, settings: &[String]) -> Child {
    // Another of the servers that people run: see tests/matrix.
    let program = std::env::var_os("LOCKER_TEST_SERVER").unwrap_or_else(|| "redis-server".into());
    let (sentinel, settings) = settings.split_at(if settings.iter().any(|word| word == "--sentinel") { 2 } else { 0 });
    let mut command = host.map_or_else(|| Command::new(&program), |host| host.command(&program));
    // A configuration file comes first; the persistence of a sentinel is none of our business.
    command.args(sentinel).args(["--port", &port.to_string(), "--bind", address(host), "--dir"]).arg(folder.path());
    if sentinel.is_empty() {
        command.args(["--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0"]);
    }
    if host.is_some() {
        command.args(["--protected-mode", "no", "--unixsocket"]).arg(socket(folder));
    }
    command
        .args(settings)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("a Redis server is needed; tests/setup installs it")
}
