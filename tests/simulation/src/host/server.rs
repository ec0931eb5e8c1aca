//! A server that answers the scripts of a lock, told apart by how much they take. Its queues keep the order of arrival, and all waiters live.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use redis::{Cmd, RedisError, Value};

/// The server's clock at the beginning of a world, in microseconds since 1970.
const STARTED: u64 = 1_770_000_000_000_000;

#[derive(Default)]
pub(super) struct Server {
    /// The hashes of the scripts that it knows.
    scripts: BTreeSet<String>,
    locks: BTreeMap<String, Lock>,
    queues: BTreeMap<String, VecDeque<Waiter>>,
    last_fence: i64,
    /// What was published, by channel.
    pub(super) published: Vec<(String, String)>,
}

struct Waiter {
    value: String,
    ttl: Duration,
    channel: String,
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
                reply.extend(self.run(keys, args, now, time));
                Value::Array(reply)
            }
            _ => error("ERR unknown command"),
        }
    }

    fn run(&mut self, keys: &[&str], args: &[&str], now: Duration, time: u64) -> Vec<Value> {
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
                self.store(lock, value, now + millis(ttl));
                stored(self.last_fence, ttl)
            }
            ([_, _, value, ttl, _, _, _, _, channel], Some(held)) if held.value != *value => {
                let queue = self.queues.entry((*lock).to_owned()).or_default();
                let added = queue.iter().all(|waiter| waiter.value != *value);
                if added {
                    let (value, channel) = ((*value).to_owned(), (*channel).to_owned());
                    queue.push_back(Waiter { value, ttl: millis(ttl), channel });
                }
                let mut reply = vec![text("queued"), Value::Int(1), Value::Int(added.into())];
                reply.extend([held.left(now), Value::Int(0), Value::Int(1), text(&held.value)]);
                reply
            }
            ([_, value, ttl], Some(held)) if keys.len() == 1 && held.value == *value => {
                held.expires = now + millis(ttl);
                vec![text("extended"), Value::Int(held.fence)]
            }
            ([_, value], Some(held)) if keys.len() == 2 && held.value == *value => {
                self.locks.remove(*lock);
                self.hand_over(lock, now, time);
                vec![text("deleted")]
            }
            (_, Some(_)) => vec![text("different")],
            (_, None) => vec![text("absent")],
        }
    }

    /// Stores the value of the first waiter and tells it.
    fn hand_over(&mut self, lock: &str, now: Duration, time: u64) {
        let Some(waiter) = self.queues.get_mut(lock).and_then(VecDeque::pop_front) else { return };
        self.store(lock, &waiter.value, now + waiter.ttl);
        let (name, fence) = (lock.trim_start_matches("lock:"), self.last_fence);
        self.published.push((waiter.channel, format!("{name}\u{1f}{}\u{1f}{fence}\u{1f}{time}", waiter.value)));
    }

    fn store(&mut self, lock: &str, value: &str, expires: Duration) {
        self.last_fence += 1;
        self.locks.insert(lock.to_owned(), Lock { value: value.to_owned(), fence: self.last_fence, expires });
    }
}

impl Lock {
    fn fields(&self, now: Duration) -> Vec<Value> {
        vec![text(&self.value), Value::Int(self.fence), self.left(now)]
    }

    fn left(&self, now: Duration) -> Value {
        Value::Int(i64::try_from((self.expires - now).as_millis()).unwrap_or(i64::MAX))
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
