//! A private Redis server on a port of its own.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use locker_host::{Locker, Redis};
use nix::unistd::Pid;
use redis::aio::MultiplexedConnection;
use tempfile::TempDir;

pub(crate) struct RedisServer {
    child: Child,
    port: u16,
    /// Where it keeps what it writes.
    folder: TempDir,
}

impl RedisServer {
    pub(crate) async fn start() -> Self {
        // Another program may take the port between our look and the server's start: then try another one.
        for _ in 0..5 {
            if let Some(server) = Self::start_on(free_port()).await {
                return server;
            }
        }
        panic!("redis-server does not start");
    }

    async fn start_on(port: u16) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let child = spawn(port, &folder, &[]);
        let mut server = Self { child, port, folder };
        server.is_up().await.then_some(server)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().unwrap())
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn locker(&self) -> Locker {
        Locker::new(Redis::open(&self.url()).unwrap()).unwrap()
    }

    /// A plain connection, to look behind the scenes.
    pub(crate) async fn plain(&self) -> MultiplexedConnection {
        redis::Client::open(self.url()).unwrap().get_multiplexed_async_connection().await.unwrap()
    }

    /// Runs a command and answers what the server does.
    pub(crate) async fn run<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = redis::cmd(words[0]);
        words[1..].iter().for_each(|word| _ = command.arg(*word));
        command.query_async(&mut self.plain().await).await.unwrap()
    }

    /// All keys, sorted.
    pub(crate) async fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = self.run(&["KEYS", "*"]).await;
        keys.sort();
        keys
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
        self.child = spawn(self.port, &self.folder, settings);
        assert!(self.is_up().await, "redis-server does not start again");
    }

    async fn is_up(&mut self) -> bool {
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(20) {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            if tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.is_ok() {
                // It may be that of another program that took the port.
                let id: String = self.run(&["INFO", "server"]).await;
                return id.contains(&format!("process_id:{}\r", self.child.id()));
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

/// A port that nobody listens on, for now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

fn spawn(port: u16, folder: &TempDir, settings: &[&str]) -> Child {
    // Which of the servers that people run: see tests/matrix.
    let program = std::env::var_os("LOCKER_TEST_SERVER").unwrap_or_else(|| "redis-server".into());
    Command::new(program)
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .arg("--dir")
        .arg(folder.path())
        .args(settings)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("a Redis server is needed; tests/setup installs it")
}
