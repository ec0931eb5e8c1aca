//! Commands with arguments that are often wrong.

use proptest::prelude::*;
use proptest::sample::select;

use super::twin::Twin;
use super::{CLIENTS, Step, compare, runtime};

const COMMANDS: [&str; 34] = [
    "GET",
    "GETRANGE",
    "SET",
    "SET",
    "SET",
    "MGET",
    "DEL",
    "EXISTS",
    "TYPE",
    "PTTL",
    "PEXPIRE",
    "PEXPIRE",
    "PERSIST",
    "ZADD",
    "ZADD",
    "ZADD",
    "ZREM",
    "ZRANGE",
    "ZRANGE",
    "ZRANK",
    "ZSCORE",
    "ZCARD",
    "PUBLISH",
    "SUBSCRIBE",
    "UNSUBSCRIBE",
    "HSET",
    "HGET",
    "LPUSH",
    "RPUSH",
    "LRANGE",
    "SADD",
    "TIME",
    "PING",
    "nonsense",
];

const KEYS: [&str; 3] = ["a", "b", "news"];

const WORDS: [&str; 34] = [
    "0",
    "1",
    "-1",
    "2",
    "-3",
    "100000",
    "200000",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "01",
    "+1",
    "1.5",
    "0.1",
    "-0",
    "1e20",
    "inf",
    "nan",
    "x",
    "",
    "NX",
    "xx",
    "GT",
    "lt",
    "CH",
    "GET",
    "PX",
    "PXAT",
    "KEEPTTL",
    "WITHSCORES",
    "REV",
    "WITHSCORE",
    "news",
    "m",
];

fn command() -> impl Strategy<Value = Step> {
    let rest = prop::collection::vec(select(WORDS.to_vec()), 0..5);
    (0..CLIENTS, select(COMMANDS.to_vec()), prop::option::weighted(0.95, select(KEYS.to_vec())), rest).prop_map(
        |(client, command, key, rest)| {
            // One channel at a time: see the simulation's `subscribe`.
            let rest = if command.ends_with("SUBSCRIBE") { vec![] } else { rest };
            let key = key.or((command == "UNSUBSCRIBE").then_some("a"));
            let words = [command].into_iter().chain(key).chain(rest);
            Step::Call { client, words: words.map(str::to_owned).collect() }
        },
    )
}

#[test]
fn commands_do_the_same_on_both_servers() {
    compare(250, prop::collection::vec(command(), 1..30));
}

/// What few clients ask for, or ask wrongly.
const RARE: [&str; 58] = [
    "ACL SETUSER x +nope",
    "ACL SETUSER x nope",
    "ACL WHOAMI",
    "ASKING",
    "AUTH",
    "AUTH a b c",
    "AUTH nobody x",
    "AUTH x",
    "CLIENT",
    "CLIENT NOPE",
    "CLIENT SETINFO LIB-NAME x",
    "CLUSTER NOPE",
    "CLUSTER SLOTS",
    "DBSIZE",
    "EVAL",
    "EVALSHA abc",
    "EVALSHA abc 0",
    "EVALSHA abc x",
    "FLUSHALL NOPE",
    "GET",
    "HELLO 3 AUTH nobody x",
    "HELLO 3 NOPE",
    "HELLO 4",
    "HELLO x",
    "HSET a b",
    "INFO server",
    "NOPE",
    "NOPE a b c d e f g",
    "PING a",
    "PING a b",
    "PUBSUB",
    "PUBSUB CHANNELS",
    "PUBSUB NOPE",
    "PUBSUB NUMSUB",
    "PUBSUB NUMSUB a b",
    "READONLY",
    "SCAN 0 COUNT 0",
    "SCAN 0 COUNT x",
    "SCAN 0 MATCH",
    "SCAN 0 NOPE 1",
    "SCAN 0 TYPE nope",
    "SCAN x",
    "SCRIPT",
    "SCRIPT EXISTS abc",
    "SCRIPT FLUSH NOPE",
    "SCRIPT KILL",
    "SCRIPT LOAD return",
    "SCRIPT NOPE",
    "SELECT 1",
    "SET a 1",
    "SELECT 0",
    "GET a",
    "SELECT 99",
    "SELECT x",
    "TIME x",
    "WAIT 0",
    "WAIT 0 0",
    "WAIT x 0",
];

#[test]
fn rare_commands_do_the_same_on_both_servers() {
    let mut twin = runtime().block_on(Twin::start());
    twin.reset();
    for command in RARE {
        let words = command.split(' ').map(str::to_owned).collect();
        twin.take(&Step::Call { client: 0, words }).unwrap_or_else(|why| panic!("{why}"));
    }
}
