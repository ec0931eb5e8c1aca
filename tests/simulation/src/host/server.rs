//! A server that answers the scripts of a lock, told apart by how many keys they take. It has no queues.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use redis::{Cmd, RedisError, Value};

/// The server's clock at the beginning of a world, in microseconds since 1970.
const STARTED: u64 = 1_770_000_000_000_000;

#[derive(Default)]
pub(super) struct Server {
    /// The hashes of the scripts that it knows.
    scripts: BTreeSet<String>,
    locks: BTreeMap<String, Lock>,
    last_fence: i64,
}

struct Lock {
    value: String,
    fence: i64,
    expires: Duration,
}

impl Server {
    /// Answers a command at this time of the world.
    pub(super) fn call(&mut self, command: &Cmd, now: Duration) -> Value {
        let words = words(command);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let time = STARTED + u64::try_from(now.as_micros()).unwrap_or_default();
        match &words[..] {
            ["TIME"] => Value::Array(vec![text((time / 1_000_000).to_string()), text((time % 1_000_000).to_string())]),
            ["SCRIPT", "LOAD", code] => {
                let hash = redis::Script::new(code).get_hash().to_owned();
                self.scripts.insert(hash.clone());
                text(hash)
            }
            ["EVALSHA", hash, ..] if !self.scripts.contains(*hash) => error("NOSCRIPT No matching script."),
            ["EVALSHA", _, keys, rest @ ..] => {
                let (keys, args) = rest.split_at(keys.parse().unwrap_or_default());
                self.locks.retain(|_, lock| lock.expires > now);
                let mut reply = vec![integer(time)];
                reply.extend(self.run(keys, args, now));
                Value::Array(reply)
            }
            _ => error("ERR unknown command"),
        }
    }

    fn run(&mut self, keys: &[&str], args: &[&str], now: Duration) -> Vec<Value> {
        let (Some(lock), held) = (keys.first(), keys.first().and_then(|key| self.locks.get_mut(*key))) else {
            return vec![];
        };
        match (args, held) {
            // A use-by of 0 has passed.
            (["0", ..], _) => vec![text("late")],
            ([], Some(held)) => [vec![text("found")], held.fields(now)].concat(),
            ([], None) => vec![text("absent")],
            ([_, _, value, ttl], Some(held)) if keys.len() == 4 => {
                let outcome = if held.value == *value { return stored(held.fence, ttl) } else { text("occupied") };
                [vec![outcome], held.fields(now)].concat()
            }
            ([_, _, value, ttl], None) if keys.len() == 4 => {
                self.last_fence += 1;
                let lock_of_value =
                    Lock { value: (*value).to_owned(), fence: self.last_fence, expires: now + millis(ttl) };
                self.locks.insert((*lock).to_owned(), lock_of_value);
                stored(self.last_fence, ttl)
            }
            ([_, value, ttl], Some(held)) if keys.len() == 1 && held.value == *value => {
                held.expires = now + millis(ttl);
                vec![text("extended"), Value::Int(held.fence)]
            }
            ([_, value], Some(held)) if keys.len() == 2 && held.value == *value => {
                self.locks.remove(*lock);
                vec![text("deleted")]
            }
            (_, Some(_)) => vec![text("different")],
            (_, None) => vec![text("absent")],
        }
    }
}

impl Lock {
    fn fields(&self, now: Duration) -> Vec<Value> {
        let left = (self.expires - now).as_millis();
        vec![text(&self.value), Value::Int(self.fence), Value::Int(i64::try_from(left).unwrap_or(i64::MAX))]
    }
}

/// The words of a command.
pub(super) fn words(command: &Cmd) -> Vec<String> {
    let words = command.args_iter().map(|arg| match arg {
        redis::Arg::Simple(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        _ => String::new(),
    });
    words.collect()
}

fn stored(fence: i64, ttl: &str) -> Vec<Value> {
    vec![text("stored"), Value::Int(fence), integer(ttl.parse().unwrap_or_default())]
}

fn text(text: impl Into<String>) -> Value {
    Value::BulkString(text.into().into_bytes())
}

fn integer(number: u64) -> Value {
    Value::Int(i64::try_from(number).unwrap_or(i64::MAX))
}

fn millis(text: &str) -> Duration {
    Duration::from_millis(text.parse().unwrap_or_default())
}

/// An error as a server sends it.
fn error(words: &str) -> Value {
    let reply = redis::parse_redis_value(format!("-{words}\r\n").as_bytes());
    reply.unwrap_or_else(|_: RedisError| Value::Nil)
}
