//! What each subcommand says of a store that it cannot use, and that it says so soon.

use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use rstest::rstest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::harness::{Command, LONG, RedisServer};

const SUBCOMMANDS: [&[&str]; 6] = [
    &["lock", "job"],
    &["exec", "job", "--", "true"],
    &["status", "job"],
    &["list"],
    &["unlock", "job", "token"],
    &["extend", "job", "token", "--ttl", "1s"],
];

/// Runs all subcommands, one after the other.
async fn each_subcommand_says(url: &str, code: i32, words: &str) {
    let started = Instant::now();
    for subcommand in SUBCOMMANDS {
        let ran = Command::new(&[&["--timeout", "300ms"], subcommand].concat()).env("LOCKER_CACHE", url).run().await;
        assert!(
            ran.code == Some(code) && ran.stderr.contains(words) && ran.stdout.is_empty(),
            "{subcommand:?}: {ran:?}"
        );
    }
    assert!(started.elapsed() < LONG / 2, "each clean-up took seconds");
}

/// A port at which another program listens.
async fn port_that_says(answer: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            _ = client.read(&mut [0; 4096]).await;
            _ = client.write_all(answer.as_bytes()).await;
        }
    });
    port
}

#[tokio::test]
async fn a_port_that_refuses_connections_is_unavailable() {
    each_subcommand_says("redis://127.0.0.1:1", 69, "Connection refused").await;
}

#[tokio::test]
async fn a_socket_that_does_not_exist_is_unavailable() {
    each_subcommand_says("redis+unix:///no/such/socket", 69, "No such file").await;
}

#[tokio::test]
async fn a_quorum_of_which_no_member_answers_is_unavailable() {
    each_subcommand_says("redis://127.0.0.1:1,redis://127.0.0.1:2,redis://127.0.0.1:3", 69, "Connection refused").await;
}

#[tokio::test]
async fn a_server_that_hangs_is_unavailable_after_one_timeout() {
    let server = RedisServer::start().await;
    kill(server.pid(), Signal::SIGSTOP).unwrap();
    each_subcommand_says(&server.url(), 69, "does not answer in time").await;
}

#[rstest]
#[case::a_web_server("HTTP/1.1 400 Bad Request\r\n\r\n")]
#[case::a_shell_server("SSH-2.0-OpenSSH_9.2\r\n")]
#[tokio::test]
async fn a_port_of_another_program_is_misconfigured(#[case] answer: &'static str) {
    let port = port_that_says(answer).await;
    each_subcommand_says(&format!("redis://127.0.0.1:{port}"), 78, "does not speak the protocol of Redis").await;
}
