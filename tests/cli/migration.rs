//! What the documentation says to users of other lock tools.

use std::fs::File;
use std::path::Path;

use crate::docs::table;
use crate::harness::{Command, LONG, Ran, RedisServer, granted};

/// Runs a command of the documentation in a shell. The job itself exits with 7.
async fn run(command: &str, server: &RedisServer, folder: &Path) -> Ran {
    let locker = Command::path("locker");
    let words = command.replace("FILE", "file").replace("NAME", "job").replace("LABEL", "me");
    let words = words.replace("\"CMD\"", "'exit 7'").replace("CMD", "sh -c 'exit 7'");
    let script = format!("locker() {{ '{}' \"$@\"; }}; {words}", locker.display());
    let shell = Command::of("sh".into(), &["-c", &script]).env("LOCKER_CACHE", &server.url());
    shell.current_dir(folder).run().await
}

#[tokio::test]
async fn a_free_lock_lets_flock_and_locker_run_the_job_alike() {
    let (server, folder) = (RedisServer::start().await, tempfile::tempdir().unwrap());
    for [flock, locker] in table("docs/jobs.md", "| flock | locker |") {
        let [flock, locker] = [run(&flock, &server, folder.path()).await, run(&locker, &server, folder.path()).await];
        assert_eq!((flock.code, locker.code), (Some(7), Some(7)), "{flock:?} {locker:?}");
    }
}

#[tokio::test]
async fn a_held_lock_lets_flock_and_locker_exit_alike() {
    let (server, folder) = (RedisServer::start().await, tempfile::tempdir().unwrap());
    let file = File::create(folder.path().join("file")).unwrap();
    file.lock().unwrap();
    granted(server.locker().lock("job", LONG).await);
    let rows = table("docs/jobs.md", "| flock | locker |");
    let attempts: Vec<_> = rows.into_iter().filter(|[_, locker]| !locker.contains("forever")).collect();
    assert_eq!(attempts.len(), 4);
    for [flock, locker] in attempts {
        let [flock, locker] = [run(&flock, &server, folder.path()).await, run(&locker, &server, folder.path()).await];
        assert!(flock.code == locker.code && ![Some(0), Some(7)].contains(&flock.code), "{flock:?} {locker:?}");
    }
}

#[tokio::test]
async fn the_counterparts_of_consul_lock_run_the_job() {
    let (server, folder) = (RedisServer::start().await, tempfile::tempdir().unwrap());
    let rows = table("docs/jobs.md", "| consul lock | locker |");
    assert!(!rows.is_empty());
    for [_, locker] in rows {
        let ran = run(&locker, &server, folder.path()).await;
        assert_eq!(ran.code, Some(7), "{locker}: {ran:?}");
    }
}
