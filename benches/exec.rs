//! What a whole `locker exec NAME -- true` costs, beside programs that do the same: in memory and on the local store beside `flock`, on Redis beside a native
//! program that sends SET, starts the command and sends EVAL, and beside `redis-cli` that is started twice. All in turns.

#![allow(clippy::expect_used, missing_docs, reason = "what fails here ends the measurement")]

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use locker_benches::{Server, median};

const TIMES: usize = 300;
const RELEASE: &str = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end";

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, word, url] = &arguments[..]
        && word == "native"
    {
        return native(url);
    }
    let this = std::env::current_exe().expect("it has a path");
    let (this, locker) = (this.to_string_lossy(), locker_benches::locker());
    let locker = &*locker.to_string_lossy();
    let (server, folder) = (Server::start(), std::env::temp_dir());
    let (url, port, file) = (server.url(), server.port(), folder.join("locker-bench.flock"));
    let (local, file) = (format!("local:{}", folder.join("locker-bench.local").display()), file.to_string_lossy());
    let cli = |command: &str| format!("redis-cli -p {port} {command} >/dev/null");
    let cli = [cli("SET cli token NX PX 30000"), "true".to_owned(), cli(&format!("EVAL \"{RELEASE}\" 1 cli token"))];
    let cli = cli.join(" && ");
    let programs = [
        ("locker exec, memory", vec![locker, "--cache", "memory", "--quiet", "exec", "job", "--", "true"]),
        ("locker exec, local store", vec![locker, "--cache", &local, "exec", "job", "--", "true"]),
        ("flock", vec!["flock", &file, "true"]),
        ("locker exec, Redis", vec![locker, "--cache", &url, "exec", "job", "--", "true"]),
        ("a native program, Redis", vec![&this, "native", &url]),
        ("redis-cli twice and true", vec!["sh", "-c", &cli]),
    ];
    let mut took = programs.each_ref().map(|_| Vec::new());
    for round in 0..TIMES + 10 {
        for (program, took) in programs.iter().zip(&mut took) {
            let time = run(&program.1);
            // The first ones fill caches.
            if round >= 10 {
                took.push(time);
            }
        }
    }
    for ((name, _), took) in programs.iter().zip(took) {
        println!("{name:26} {:.2} ms", median(took).as_secs_f64() * 1e3);
    }
}

fn run(command: &[&str]) -> Duration {
    let (program, arguments) = command.split_first().expect("it has a name");
    let started = Instant::now();
    let status = Command::new(program).args(arguments).stdin(Stdio::null()).status().expect("it can be started");
    assert!(status.success(), "{command:?}");
    started.elapsed()
}

/// The least that a program can do to run `true` under a lock.
fn native(url: &str) {
    let mut connection =
        redis::Client::open(url).and_then(|client| client.get_connection()).expect("the server is there");
    let token = format!("{:016x}", getrandom::u64().expect("there are random bytes"));
    let set = redis::cmd("SET").arg("native").arg(&token).arg("NX").arg("PX").arg(30_000).exec(&mut connection);
    set.expect("the key is free");
    Command::new("true").status().expect("it can be started");
    let release = redis::cmd("EVAL").arg(RELEASE).arg(1).arg("native").arg(&token).exec(&mut connection);
    release.expect("the server is there");
}
