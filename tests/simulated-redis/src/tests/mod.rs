//! Servers under a world's control.

mod cluster;
mod controls;
mod pubsub;
mod replication;
mod scripts;

use redis::{RedisResult, Value};

use crate::{ClientId, Server, Version};

const SECOND: u64 = 1_000_000;

fn server() -> (Server, ClientId) {
    let mut server = Server::new(Version::Redis8, 1);
    server.set_clock(1_000_000 * SECOND);
    let client = server.connect();
    (server, client)
}

/// Runs a command that is written with spaces between its words.
fn run(server: &mut Server, client: ClientId, command: &str) -> RedisResult<Value> {
    let words: Vec<_> = command.split(' ').map(|word| word.as_bytes().to_vec()).collect();
    server.call(client, &words)
}

fn eval(server: &mut Server, client: ClientId, code: &str, keys: &[&str]) -> RedisResult<Value> {
    let count = keys.len().to_string();
    let words = ["EVAL", code, &count].into_iter().chain(keys.iter().copied());
    server.call(client, &words.map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>())
}

fn error(reply: RedisResult<Value>) -> String {
    let error = reply.unwrap_err();
    [error.code().unwrap_or_default(), error.detail().unwrap_or_default()].join(" ")
}

fn text(word: &str) -> Value {
    Value::BulkString(word.as_bytes().to_vec())
}

#[test]
fn a_server_can_be_shared_by_threads_behind_a_lock() {
    fn is_send<T: Send>(_: &T) {}
    is_send(&server().0);
}
