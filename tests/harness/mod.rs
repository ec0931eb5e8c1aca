//! Starts stores and commands, and ends them.

mod browser;
mod cluster;
mod command;
mod contention;
mod distant;
mod fenced_register;
mod flaky;
mod held_lock;
mod history;
mod late;
mod leaders;
mod machine;
mod monitored;
mod network;
mod plugin;
mod prometheus;
mod protected;
mod proxy;
mod queued_memory;
mod redis_server;
mod running;
mod sentinels;
mod side;
mod store;
mod tls;

pub(crate) use browser::Browser;
pub(crate) use cluster::Cluster;
pub(crate) use command::{Command, Ran, send, wasm};
pub(crate) use contention::Contention;
pub(crate) use distant::{Asked, Distant};
use fenced_register::FencedRegister;
pub(crate) use flaky::Flaky;
pub(crate) use held_lock::HeldLock;
pub(crate) use history::History;
pub(crate) use late::LateStore;
pub(crate) use leaders::{Leader, Leaders};
pub(crate) use machine::Machine;
pub(crate) use monitored::Monitored;
pub(crate) use network::{Host, Network};
pub(crate) use plugin::{Embedded, LinkMode, compose, rogue, run_sync};
pub(crate) use prometheus::Samples;
pub(crate) use protected::Protected;
pub(crate) use proxy::{Fault, Proxy};
use queued_memory::QueuedMemory;
pub(crate) use redis_server::{RedisServer, Waiter, key_of};
pub(crate) use running::{BEATING, Running, STUBBORN};
pub(crate) use sentinels::Sentinels;
pub(crate) use side::Side;
pub(crate) use store::{Backend, Store};
pub(crate) use tls::Tls;

use std::time::Duration;

use locker_host::{ExtendOutcome, Holder, Lease, LockOptions, LockOutcome};

/// Longer than any test.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// Long enough for a lock to be seen as held, short enough to wait for its end.
pub(crate) const SHORT: Duration = Duration::from_millis(300);

/// Locks for longer than any test, and waits as long.
pub(crate) fn waiting_options() -> LockOptions {
    LockOptions::from(LONG).wait(LONG)
}

/// Waits until what was locked for a short time has surely expired: servers count whole milliseconds.
pub(crate) async fn expiry() {
    tokio::time::sleep(SHORT + Duration::from_millis(50)).await;
}

#[track_caller]
pub(crate) fn granted(outcome: Result<LockOutcome, locker_host::Error>) -> Lease {
    match outcome.unwrap() {
        LockOutcome::Granted(lease) => lease,
        LockOutcome::Held(holder) => panic!("the lock is held: {holder:?}"),
    }
}

#[track_caller]
pub(crate) fn held(outcome: Result<LockOutcome, locker_host::Error>) -> Holder {
    match outcome.unwrap() {
        LockOutcome::Granted(lease) => panic!("the lock was granted: {lease:?}"),
        LockOutcome::Held(holder) => holder,
    }
}

#[track_caller]
pub(crate) fn extended(outcome: Result<ExtendOutcome, locker_host::Error>) -> Lease {
    match outcome.unwrap() {
        ExtendOutcome::Extended(lease) => lease,
        refused => panic!("the lock was not extended: {refused:?}"),
    }
}

/// Waits until something is so, and not as long as a lock may last.
#[track_caller]
pub(crate) fn until(so: impl AsyncFnMut() -> bool) -> impl Future<Output = ()> {
    until_within(LONG / 2, so)
}

/// Waits until servers have elected another primary. On a machine that is busy with other tests, they may need several attempts.
#[track_caller]
pub(crate) fn until_elected(so: impl AsyncFnMut() -> bool) -> impl Future<Output = ()> {
    until_within(3 * LONG, so)
}

#[track_caller]
fn until_within(limit: Duration, mut so: impl AsyncFnMut() -> bool) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        let started = std::time::Instant::now();
        while !so().await {
            assert!(started.elapsed() < limit, "{caller}: this does not come to pass");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
