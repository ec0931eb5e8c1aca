//! What a terminal shows.

use std::fs::File;
use std::io::Read;
use std::time::Duration;

use nix::pty::openpty;

use crate::harness::{Command, RedisServer};

/// Runs `locker` with its words on a terminal, and answers what was seen there.
async fn seen(server: &RedisServer, arguments: &[&str]) -> String {
    let terminal = openpty(None, None).unwrap();
    let mut command = Command::on(server, arguments).env("TERM", "xterm").into_std();
    let mut child = command.stderr(terminal.slave).spawn().unwrap();
    // It holds the terminal open.
    drop(command);
    let mut seen = Vec::new();
    let reading = tokio::task::spawn_blocking(move || {
        // When the other end is closed, that is an error.
        _ = File::from(terminal.master).read_to_end(&mut seen);
        String::from_utf8_lossy(&seen).into_owned()
    });
    let seen = tokio::time::timeout(Duration::from_secs(60), reading).await.unwrap().unwrap();
    child.wait().unwrap();
    seen
}

#[tokio::test]
async fn a_wait_shows_who_holds_the_lock() {
    let server = RedisServer::start().await;
    Command::on(&server, &["lock", "job", "--owner", "backup", "--ttl", "1h"]).run().await;
    for arguments in [&["lock", "job", "--wait", "3s"][..], &["exec", "job", "--wait", "3s", "--", "true"]] {
        let seen = seen(&server, arguments).await;
        assert!(seen.contains(r#"waiting for "job", held by "backup" for 59m"#), "{seen}");
    }
}

#[tokio::test]
async fn a_wait_shows_nothing_to_those_who_want_quiet() {
    let server = RedisServer::start().await;
    Command::on(&server, &["lock", "job", "--ttl", "1h"]).run().await;
    assert_eq!(seen(&server, &["-q", "lock", "job", "--wait", "1s"]).await, "");
}

#[tokio::test]
async fn a_wait_shows_nothing_where_there_is_no_terminal() {
    let server = RedisServer::start().await;
    Command::on(&server, &["lock", "job", "--ttl", "1h"]).run().await;
    let ran = Command::on(&server, &["lock", "job", "--wait", "1s"]).run().await;
    assert!(!ran.stderr.contains("waiting"), "{ran:?}");
}
