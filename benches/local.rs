//! What the local store costs, beside memory and `flock(2)`: a pair in one process, pairs of two processes that contend, and a hand-off between
//! two processes beside a byte through a pipe. All in turns.

#![allow(clippy::expect_used, missing_docs, reason = "what fails here ends the measurement")]

use std::fs::File;
use std::io::{Read, Write, stdin, stdout};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use locker_benches::median;
use locker_host::{Local, LockOptions, Locker, Memory};
use tokio::runtime::Runtime;

const ROUNDS: usize = 15;
const TIMES: u32 = 2000;
const LONG: Duration = Duration::from_secs(3600);

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, role, folder] = &arguments[..]
        && role.starts_with("peer-")
    {
        return peer(role, Path::new(folder));
    }
    let folder = std::env::temp_dir().join(format!("locker-bench-{}", std::process::id()));
    std::fs::create_dir(&folder).expect("there is room");
    let (runtime, store) = (runtime(), folder.join("store"));
    let memory = Locker::new(Memory::default()).expect("the component runs");
    let local = Locker::new(Local::open(&store).expect("the folder is there")).expect("the component runs");
    let file = File::create(folder.join("file")).expect("there is room");
    let mut programs: [(_, Box<dyn FnMut() -> Duration>); 6] = [
        ("a pair in memory", Box::new(|| pairs(&runtime, &memory))),
        ("a pair on the local store", Box::new(|| pairs(&runtime, &local))),
        ("a pair of flock(2)", Box::new(|| flocks(&file))),
        ("a pair of flock(2), two processes", Box::new(|| beside("peer-flock", &folder, || flocks(&file)))),
        (
            "a hand-off of the local store, two processes",
            Box::new(|| beside("peer-local", &store, || pairs(&runtime, &local))),
        ),
        ("a byte through a pipe, two processes", Box::new(|| pipe(&folder))),
    ];
    let mut took = programs.each_ref().map(|_| Vec::new());
    for round in 0..=ROUNDS {
        for (program, took) in programs.iter_mut().zip(&mut took) {
            let time = program.1();
            // The first round fills caches.
            if round > 0 {
                took.push(time);
            }
        }
    }
    for ((name, _), took) in programs.iter().zip(took) {
        println!("{name:45} {:8.2} us", median(took).as_secs_f64() * 1e6);
    }
    drop(programs);
    std::fs::remove_dir_all(&folder).expect("it is there");
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// The time of one of many.
fn each(mut step: impl FnMut()) -> Duration {
    let started = Instant::now();
    (0..TIMES).for_each(|_| step());
    started.elapsed() / TIMES
}

fn pairs(runtime: &Runtime, locker: &Locker) -> Duration {
    each(|| {
        runtime.block_on(async {
            let lock = locker.lock("job", LockOptions::from(LONG).wait(LONG)).await.expect("the store is there");
            locker.unlock("job", &lock.granted().expect("the wait is long").token).await.expect("the store is there");
        });
    })
}

fn flocks(file: &File) -> Duration {
    each(|| {
        file.lock().expect("it can be locked");
        file.unlock().expect("it was locked");
    })
}

/// The time of one step while another process does the same. With a queue, each release is a hand-off to the other process, which makes half of them.
fn beside(role: &str, folder: &Path, steps: impl FnOnce() -> Duration) -> Duration {
    let mut child = start(role, folder);
    exchange(&mut child);
    let time = steps() / 2;
    exchange(&mut child);
    end(child);
    time
}

fn pipe(folder: &Path) -> Duration {
    let mut child = start("peer-pipe", folder);
    exchange(&mut child);
    let time = each(|| exchange(&mut child)) / 2;
    end(child);
    time
}

fn start(role: &str, folder: &Path) -> Child {
    let this: PathBuf = std::env::current_exe().expect("it has a path");
    let mut command = Command::new(this);
    command.arg(role).arg(folder).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it can be started")
}

/// Sends a byte to the other process, and waits for its answer.
fn exchange(child: &mut Child) {
    child.stdin.as_mut().expect("it is a pipe").write_all(b".").expect("the peer lives");
    child.stdout.as_mut().expect("it is a pipe").read_exact(&mut [0]).expect("the peer lives");
}

fn end(mut child: Child) {
    drop(child.stdin.take());
    assert!(child.wait().expect("it was started").success());
}

/// The other process: it answers each byte, and does its steps after the first one.
fn peer(role: &str, folder: &Path) {
    let answer =
        || stdin().read_exact(&mut [0]).is_ok() && stdout().write_all(b".").and_then(|()| stdout().flush()).is_ok();
    match role {
        "peer-local" => {
            let local = Local::open(folder).expect("the folder is there");
            let (runtime, locker) = (runtime(), Locker::new(local).expect("the component runs"));
            answer();
            pairs(&runtime, &locker);
        }
        "peer-flock" => {
            let file = File::create(folder.join("file")).expect("there is room");
            answer();
            flocks(&file);
        }
        _ => {}
    }
    while answer() {}
}
