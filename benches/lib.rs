//! What benchmarks share: a Redis server of their own, and medians.

#![allow(
    clippy::expect_used,
    clippy::missing_panics_doc,
    missing_docs,
    reason = "what fails here ends the measurement"
)]

use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A server that keeps nothing and ends with this.
pub struct Server {
    child: Child,
    port: u16,
}

impl Server {
    pub fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
        Self::start_on(&port.to_string())
    }

    /// An empty server on a port.
    pub fn start_on(port: &str) -> Self {
        let port: u16 = port.parse().expect("a port");
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .stdout(Stdio::null())
            .spawn()
            .expect("there is no redis-server: install it with `apt-get install redis-server`, or run tests/setup");
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(started.elapsed() < Duration::from_secs(10), "redis-server does not answer");
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { child, port }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn pid(&self) -> String {
        self.child.id().to_string()
    }

    /// The processor time that its main thread has taken so far.
    pub fn processor_time(&self) -> Duration {
        processor_time(&self.child.id().to_string())
    }

    pub fn port(&self) -> String {
        self.port.to_string()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// The processor time that the main thread of a process, or of `self`, has taken so far. It hardly depends on what else the machine does.
pub fn processor_time(process: &str) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{process}/schedstat")).expect("this is Linux");
    Duration::from_nanos(stat.split(' ').next().and_then(|nanos| nanos.parse().ok()).expect("a number"))
}

/// The middle one.
pub fn median<T: PartialOrd + Copy>(mut values: Vec<T>) -> T {
    values.sort_by(|a, b| a.partial_cmp(b).expect("they are numbers"));
    values[values.len() / 2]
}

/// The command `locker`, built with the profile of the benchmarks.
pub fn locker() -> PathBuf {
    // Benchmarks run in target/PROFILE/deps, programs one level above.
    let this = std::env::current_exe().expect("it has a path");
    let folder = this.ancestors().nth(2).expect("it is in a folder");
    let profile = folder.file_name().expect("it has a name");
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--package", "locker-cli", "--profile"]).arg(profile);
    let status = build.current_dir(env!("CARGO_MANIFEST_DIR")).status();
    assert!(status.expect("cargo runs").success(), "locker does not build");
    folder.join("locker")
}
