//! Commands whose lock is granted too late, or for too short a time: they are not started.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use locker_host::LockOptions;
use nix::sys::signal::Signal;
use rstest::rstest;
use tempfile::TempDir;

use crate::harness::{Command, Fault, LONG, Proxy, Ran, RedisServer, granted, send, until};

const TTL: Duration = Duration::from_secs(1);

/// A server behind a proxy, and a command that leaves a file behind if it is started.
struct World {
    server: RedisServer,
    proxy: Proxy,
    folder: TempDir,
}

impl World {
    async fn start() -> Self {
        let server = RedisServer::start().await;
        // The scripts are known to the server from here on, so that what is late is the step itself.
        Command::on(&server, &["exec", "warm", "--", "true"]).run().await;
        Self { proxy: Proxy::start(&server).await, server, folder: tempfile::tempdir().unwrap() }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("started")
    }

    fn exec(&self, options: &[&str]) -> Command {
        let file = self.file();
        let command = ["--", "touch", file.to_str().unwrap()];
        let exec = Command::new(&[&["exec", "job"], options, &command].concat());
        exec.env("LOCKER_CACHE", &self.proxy.url())
    }
}

#[rstest]
#[case::over(&["--ttl", "1s"], 2 * TTL)]
#[case::less_left_than_its_margin(&["--ttl", "6s", "--kill-after", "3s"], 4 * TTL)]
#[tokio::test]
async fn a_command_whose_lock_is_granted_too_late_is_not_started(#[case] options: &[&str], #[case] late: Duration) {
    let world = World::start().await;
    world.proxy.next(Fault::DelayAnswer("lock:job", late));
    let ran = world.exec(options).run().await;
    assert_eq!(ran.code, Some(74), "{ran:?}");
    assert!(ran.stderr.contains(r#"lock "job": it was granted, but its time to live was over"#), "{ran:?}");
    assert!(!world.file().exists());
    assert_eq!(Command::on(&world.server, &["status", "job"]).run().await.line(), "free");
}

#[tokio::test]
async fn a_command_whose_lock_was_granted_too_late_is_started_when_it_is_granted_again() {
    let world = World::start().await;
    world.proxy.next(Fault::DelayAnswer("lock:job", 2 * TTL));
    let ran = world.exec(&["--ttl", "1s", "--wait", "1min"]).run().await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(world.file().exists());
}

#[tokio::test]
async fn a_waiter_that_was_stopped_while_it_was_handed_the_lock_starts_nothing_beside_the_next_holder() {
    let world = World::start().await;
    let holder = world.server.locker();
    let first = granted(holder.lock("job", LONG).await);
    let waiting = world.exec(&["--ttl", "1s", "--wait", "1min"]).spawn();
    until(async || world.server.queued("job").await == 1).await;
    send(&waiting, Signal::SIGSTOP);
    holder.unlock("job", &first.token).await.unwrap();
    let next = granted(holder.lock("job", LockOptions::from(LONG).wait(LONG)).await);
    send(&waiting, Signal::SIGCONT);
    until(async || world.server.queued("job").await == 1).await;
    assert!(!world.file().exists(), "it was started beside the next holder");
    holder.unlock("job", &next.token).await.unwrap();
    assert_eq!(Ran::of(waiting).await.code, Some(0));
    assert!(world.file().exists());
}

#[rstest]
#[case::below_the_time_to_stop(&["--max-hold", "5s"], "0.5", 0)]
#[case::below_a_second(&["--max-hold", "400ms"], "0.1", 0)]
#[case::below_a_long_time_to_live(&["--max-hold", "1s", "--ttl", "1h"], "0.5", 0)]
#[case::exceeded(&["--max-hold", "2s"], "60", 74)]
#[case::exceeded_by_a_long_time_to_live(&["--max-hold", "2s", "--ttl", "1h"], "60", 74)]
#[tokio::test]
async fn a_maximum_hold_is_not_shortened_by_the_time_to_stop(
    #[case] options: &[&str],
    #[case] time: &str,
    #[case] code: i32,
) {
    let started = Instant::now();
    let ran = Command::new(&[&["exec", "job"], options, &["--", "sleep", time]].concat()).run().await;
    assert_eq!(ran.code, Some(code), "{ran:?}");
    assert_eq!(ran.stderr.contains("it was held for as long as it may be"), code == 74, "{ran:?}");
    assert!(code == 0 || (2 * TTL..LONG / 2).contains(&started.elapsed()), "{:?}", started.elapsed());
}
