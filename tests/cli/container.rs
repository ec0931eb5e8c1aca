//! `locker` as the first process of a container.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Child;

use crate::harness::{Command, LONG, Ran, RedisServer, granted, until};

/// `locker` as the first process of a namespace of processes.
fn in_container(server: &RedisServer, arguments: &[&str]) -> Command {
    let locker = Command::path("locker");
    let unshare = ["--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "--kill-child"];
    let words = [&unshare[..], &[locker.to_str().unwrap()], arguments].concat();
    Command::of("unshare".into(), &words).env("LOCKER_CACHE", &server.url())
}

/// The process in the container that is the first there.
fn first(container: &Child) -> Pid {
    let id = container.id().unwrap();
    let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
    Pid::from_raw(children.trim().parse().unwrap())
}

#[tokio::test]
async fn the_first_process_reaps_what_the_command_leaves_behind() {
    let server = RedisServer::start().await;
    // What is left are the command and its guardian.
    let script = "
        for i in 1 2 3 4 5; do (sh -c 'exit 0' &); done
        until [ $(cat /proc/1/task/1/children | wc -w) = 2 ]; do sleep 0.02; done; echo reaped";
    let ran = in_container(&server, &["exec", "job", "--", "sh", "-c", script]).run().await;
    assert_eq!((ran.code, ran.line()), (Some(0), "reaped"), "{ran:?}");
}

#[tokio::test]
async fn a_container_that_is_stopped_stops_the_command_and_releases_the_lock() {
    let (server, folder) = (RedisServer::start().await, tempfile::tempdir().unwrap());
    let script = "trap 'echo stopped; exit 7' TERM; touch begun; while :; do sleep 0.02; done";
    let exec = in_container(&server, &["exec", "job", "--", "sh", "-c", script]);
    let container = exec.current_dir(folder.path()).spawn();
    until(async || folder.path().join("begun").exists()).await;
    kill(first(&container), Signal::SIGTERM).unwrap();
    let ran = Ran::of(container).await;
    assert_eq!((ran.code, ran.line()), (Some(7), "stopped"), "{ran:?}");
    assert_eq!(Command::on(&server, &["status", "job"]).run().await.line(), "free");
}

/// The command of the job in the documentation, with the name of a pod.
fn command_of_the_cron_job(pod: &str) -> Vec<String> {
    let page = include_str!("../../docs/jobs.md");
    let command = page.lines().find_map(|line| line.trim().strip_prefix("command: ")).unwrap();
    let command: Vec<String> = serde_json::from_str(command).unwrap();
    command.into_iter().map(|word| word.replace("$(POD)", pod).replace("make-report", "pwd")).collect()
}

#[tokio::test]
async fn a_pod_succeeds_if_it_makes_the_report_and_if_another_pod_does() {
    let server = RedisServer::start().await;
    let command = command_of_the_cron_job("report-1");
    let words: Vec<_> = command.iter().map(String::as_str).collect();
    assert_eq!(words[..3], ["locker", "exec", "nightly-report"]);
    let made = in_container(&server, &words[1..]).run().await;
    assert!(made.code == Some(0) && !made.stdout.is_empty(), "{made:?}");
    granted(server.locker().lock("nightly-report", LONG).await);
    let other = in_container(&server, &words[1..]).run().await;
    assert!(other.code == Some(0) && other.stdout.is_empty(), "{other:?}");
}

#[tokio::test]
async fn a_container_that_is_stopped_ends_a_wait() {
    let server = RedisServer::start().await;
    Command::on(&server, &["lock", "job", "--ttl", "1h"]).run().await;
    let container = in_container(&server, &["exec", "job", "--wait", "1h", "--", "true"]).spawn();
    until(async || server.queued("job").await == 1).await;
    kill(first(&container), Signal::SIGTERM).unwrap();
    assert_eq!(Ran::of(container).await.code, Some(143));
    assert_eq!(server.queued("job").await, 0);
}
