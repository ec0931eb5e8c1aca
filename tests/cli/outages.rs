//! Commands that wait for a lock while its store is away.

use std::fs::File;
use std::process::Stdio;

use locker_host::Local;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::sys::signal::{Signal, kill};
use rstest::rstest;

use crate::harness::{
    Cluster, Command, LONG, Monitored, Ran, RedisServer, Sentinels, granted, send, until, until_elected,
};

/// What a command says once for each outage.
const STILL_WAITING: &str = "still waiting for the cache and the lock";

/// `locker` with these arguments, which waits for the lock `job`.
fn waiting(url: &str, subcommand: &[&str]) -> Monitored {
    let arguments = [&["--timeout", "500ms"], subcommand].concat();
    Monitored::start(Command::new(&arguments).env("LOCKER_CACHE", url))
}

const EXEC: &[&str] = &["exec", "job", "--wait", "1h", "--", "echo", "ran"];

#[track_caller]
fn ran_after_one_outage(ran: &Ran) {
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "ran\n"), "{ran:?}");
    assert_eq!(ran.stderr.matches(STILL_WAITING).count(), 1, "{ran:?}");
}

/// Why a server is away for a while.
#[derive(Clone, Copy, Debug)]
enum Outage {
    Gone,
    Stopped,
    Busy,
    Loading,
}

impl Outage {
    async fn begins(self, server: &mut RedisServer) {
        match self {
            Self::Gone => server.kill(),
            Self::Stopped => kill(server.pid(), Signal::SIGSTOP).unwrap(),
            Self::Busy => {
                () = server.run(&["CONFIG", "SET", "lua-time-limit", "10"]).await;
                let mut script = tokio::process::Command::new("redis-cli");
                let script = script.args(["-u", &server.url(), "EVAL", "while true do end", "0"]);
                _ = script.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            }
            Self::Loading => {
                for key in 0..50 {
                    () = server.run(&["SET", &key.to_string(), &"v".repeat(2000)]).await;
                }
                () = server.run(&["CONFIG", "SET", "rdbcompression", "no"]).await;
                () = server.run(&["SAVE"]).await;
                server.kill();
                let slowly = ["--key-load-delay", "100000", "--loading-process-events-interval-bytes", "1024"];
                server.start_again_with(&slowly).await;
            }
        }
    }

    async fn ends(self, server: &mut RedisServer) {
        match self {
            Self::Gone => server.start_again().await,
            Self::Stopped => kill(server.pid(), Signal::SIGCONT).unwrap(),
            Self::Busy => () = server.run(&["SCRIPT", "KILL"]).await,
            Self::Loading => {}
        }
    }
}

#[rstest]
#[tokio::test]
async fn a_command_that_found_its_server_away_starts_when_it_is_back(
    #[values(Outage::Gone, Outage::Stopped, Outage::Busy, Outage::Loading)] outage: Outage,
) {
    let mut server = RedisServer::start().await;
    outage.begins(&mut server).await;
    let mut command = waiting(&server.url(), EXEC);
    command.says(STILL_WAITING).await;
    outage.ends(&mut server).await;
    ran_after_one_outage(&command.ended().await);
}

#[rstest]
#[tokio::test]
async fn a_command_in_the_queue_outlasts_an_outage(
    #[values(Outage::Gone, Outage::Stopped, Outage::Busy)] outage: Outage,
) {
    let mut server = RedisServer::start_with(|_| ["--appendonly", "yes"].map(str::to_owned).into()).await;
    let lease = granted(server.locker().lock("job", LONG).await);
    let mut command = waiting(&server.url(), EXEC);
    until(async || server.queued("job").await == 1).await;
    outage.begins(&mut server).await;
    command.says(STILL_WAITING).await;
    outage.ends(&mut server).await;
    let locker = server.locker();
    until(async || locker.unlock("job", &lease.token).await.is_ok()).await;
    ran_after_one_outage(&command.ended().await);
}

#[tokio::test]
async fn a_quiet_command_reports_an_outage_too() {
    let mut server = RedisServer::start().await;
    server.kill();
    let mut command = waiting(&server.url(), &["lock", "job", "--wait", "forever", "--quiet"]);
    command.says(STILL_WAITING).await;
    server.start_again().await;
    let ran = command.ended().await;
    assert_eq!((ran.code, ran.stderr.lines().count()), (Some(0), 1), "{ran:?}");
}

#[tokio::test]
async fn a_command_in_the_queue_outlasts_a_failover_of_sentinels() {
    let mut sentinels = Sentinels::start().await;
    let holder = sentinels.locker();
    let lease = granted(holder.lock("job", 3 * LONG).await);
    let command = waiting(&sentinels.url(), EXEC);
    until(async || sentinels.primary.queued("job").await == 1).await;
    until(async || sentinels.replica.queued("job").await == 1).await;
    sentinels.primary.kill();
    sentinels.replica.replicates("role:master").await;
    until_elected(async || holder.unlock("job", &lease.token).await.is_ok()).await;
    let ran = command.ended().await;
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "ran\n"), "{ran:?}");
    // A failover may also be too short to be seen.
    assert!(ran.stderr.matches(STILL_WAITING).count() <= 1, "{ran:?}");
}

#[tokio::test]
async fn a_command_in_the_queue_outlasts_a_failover_in_a_cluster() {
    let mut cluster = Cluster::start_lopsided().await;
    let holder = cluster.locker();
    let lease = granted(holder.lock("job", 3 * LONG).await);
    let command = waiting(&cluster.url(), EXEC);
    until(async || cluster.nodes[0].queued("job").await == 1).await;
    cluster.nodes[0].kill();
    cluster.nodes[3].replicates("role:master").await;
    until_elected(async || holder.unlock("job", &lease.token).await.is_ok()).await;
    let ran = command.ended().await;
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "ran\n"), "{ran:?}");
    assert!(ran.stderr.matches(STILL_WAITING).count() <= 1, "{ran:?}");
}

#[tokio::test]
async fn a_command_outlasts_the_loss_of_the_majority_of_a_quorum() {
    let mut servers = [RedisServer::start().await, RedisServer::start().await, RedisServer::start().await];
    servers[..2].iter_mut().for_each(RedisServer::kill);
    let mut command = waiting(&servers.each_ref().map(RedisServer::url).join(","), EXEC);
    command.says(STILL_WAITING).await;
    servers[0].start_again().await;
    ran_after_one_outage(&command.ended().await);
}

#[tokio::test]
async fn a_command_outlasts_a_process_that_was_stopped_in_a_transaction_of_the_local_store() {
    let folder = tempfile::tempdir().unwrap();
    Local::open(folder.path()).unwrap().queue_len("job").await.unwrap();
    let lock = File::options().write(true).open(folder.path().join("lock")).unwrap();
    let byte = |kind: i32| libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 1,
        l_pid: 0,
    };
    fcntl(&lock, FcntlArg::F_OFD_SETLKW(&byte(libc::F_WRLCK))).unwrap();
    let mut command = waiting(&format!("local:{}", folder.path().display()), EXEC);
    command.says(STILL_WAITING).await;
    fcntl(&lock, FcntlArg::F_OFD_SETLK(&byte(libc::F_UNLCK))).unwrap();
    ran_after_one_outage(&command.ended().await);
}

#[rstest]
#[case::of_lock(&["lock", "job", "--wait", "600ms"])]
#[case::of_exec(&["exec", "job", "--wait", "600ms", "--", "true"])]
#[case::of_hold(&["hold", "job", "--wait", "600ms"])]
#[tokio::test]
async fn a_wait_that_ends_during_an_outage_is_unavailable(#[case] subcommand: &[&str]) {
    let ran = waiting("redis://127.0.0.1:1", subcommand).ended().await;
    // Once when the outage began, and once as the reason for the end.
    assert!(ran.code == Some(69) && ran.stderr.matches("Connection refused").count() == 2, "{ran:?}");
}

#[tokio::test]
async fn a_refusal_ends_a_wait() {
    let server = RedisServer::start().await;
    () = server.run(&["ACL", "SETUSER", "default", "on", ">secret", "-@all", "+ping"]).await;
    let wrong = server.url().replace("redis://", "redis://:wrong@");
    let weak = server.url().replace("redis://", "redis://:secret@");
    for url in [wrong, weak] {
        let ran = waiting(&url, EXEC).ended().await;
        assert!(ran.code == Some(78) && !ran.stderr.contains(STILL_WAITING), "{ran:?}");
    }
}

#[tokio::test]
async fn a_signal_ends_a_wait_during_an_outage() {
    let mut command = waiting("redis://127.0.0.1:1", EXEC);
    command.says(STILL_WAITING).await;
    send(&command.child, Signal::SIGTERM);
    assert_eq!(command.ended().await.signal, Some(Signal::SIGTERM));
}
