//! What waiting costs in memory: an idle locker, and each of ten thousand callers that wait, for one lock or each for one of its own.

#![allow(clippy::expect_used, missing_docs, reason = "what fails here ends the measurement")]

use std::time::Duration;

use locker_host::{LockOptions, Locker, Memory};
use tokio::task::JoinSet;

const WAITERS: usize = 10_000;
const LONG: Duration = Duration::from_secs(600);

#[tokio::main(flavor = "current_thread")]
async fn main() {
    locker_host::set_compilation_cache_dir(std::env::temp_dir().join("locker-bench"));
    if std::env::args().any(|argument| argument == "compile") {
        Locker::new(Memory::default()).expect("the component runs");
        return;
    }
    // In a process of its own: what compiling takes is not given back at once.
    let this = std::env::current_exe().expect("it has a path");
    std::process::Command::new(this).arg("compile").status().expect("it runs");

    let before = resident();
    let locker = Locker::new(Memory::default()).expect("the component runs");
    println!("an idle locker: {} KiB", resident() - before);
    for (names, what) in [(1, "for one lock"), (WAITERS, "each for a lock of its own")] {
        let waiting = wait(&locker, names).await;
        println!("each of {WAITERS} who wait {what}: {waiting:.1} KiB");
    }
}

/// What each of those who wait takes, in KiB.
async fn wait(locker: &Locker, names: usize) -> f64 {
    for number in 0..names {
        _ = locker.lock(&number.to_string(), LONG).await.expect("memory is there");
    }
    let before = resident();
    let mut waiters = JoinSet::new();
    for number in 0..WAITERS {
        let (locker, name) = (locker.clone(), (number % names).to_string());
        waiters.spawn(async move { locker.lock(&name, LockOptions::from(LONG).wait(LONG)).await });
    }
    // All of them have come to wait.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let waiting = resident();
    waiters.shutdown().await;
    (waiting - before) as f64 / WAITERS as f64
}

/// The memory of this process that is in use, in KiB.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("this is Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux tells");
    line.trim().trim_end_matches(" kB").parse().expect("it is a number")
}
