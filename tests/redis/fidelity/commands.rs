//! Commands with arguments that are often wrong.

use proptest::prelude::*;
use proptest::sample::select;

use super::{CLIENTS, Step, compare};

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
