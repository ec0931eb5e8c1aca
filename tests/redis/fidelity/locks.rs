//! The scripts, on few locks with few values, so that they meet.

use std::sync::LazyLock;

use proptest::prelude::*;
use proptest::sample::select;

use super::{CLIENTS, HOLDER, Step, compare, words};
use crate::harness::key_of;

/// The keys of one lock.
struct Keys {
    name: &'static str,
    lock: String,
    fence: String,
    queue: String,
    grace: String,
    withdrawn: String,
    resumed: String,
    client: String,
    channel: String,
}

static LOCKS: LazyLock<[Keys; 2]> = LazyLock::new(|| {
    ["job", "{tag}"].map(|name| Keys {
        name,
        lock: format!("lock:{name}"),
        fence: key_of("fence", name),
        queue: key_of("queue", name),
        grace: key_of("grace", name),
        withdrawn: key_of("withdrawn", name) + "\u{1f}",
        resumed: key_of("resumed", name) + "\u{1f}",
        client: key_of("client", name),
        channel: key_of("wake", name),
    })
});

/// A server time that is always to come.
const FUTURE: &str = "9000000000000000";

/// A request of a client for a lock.
#[derive(Clone, Copy, Debug)]
struct Request {
    /// Mostly the first one.
    lock: usize,
    client: usize,
    value: &'static str,
    ttl: &'static str,
    use_by: &'static str,
    mark: &'static str,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Set {
        last: bool,
    },
    Enqueue {
        ticket: &'static str,
        reports: bool,
    },
    Extend,
    /// By a client that holds the lock, or by any.
    Delete {
        holds: bool,
    },
    Withdraw {
        queued: bool,
    },
    Get,
    Vote {
        fence: &'static str,
        since: &'static str,
    },
    WithdrawVote {
        first: &'static str,
        last: &'static str,
    },
    Restore {
        fence: &'static str,
    },
}

impl Request {
    fn step(self) -> Step {
        let Keys { lock, fence, queue, grace, withdrawn, resumed, client, channel, .. } = &LOCKS[self.lock];
        let Self { value, ttl, use_by, mark, .. } = self;
        let (withdrawn, resumed) = (&format!("{withdrawn}{value}"), &format!("{resumed}{value}"));
        let id = format!("{:016x}", self.client);
        let (entry, client, channel) =
            (&format!("{id}\u{1f}{ttl}\u{1f}{value}"), &format!("{client}{id}"), &format!("{channel}{id}"));
        // An entry that only watches is never the holder's.
        let held_ttl = if ttl == "0" { "1000" } else { ttl };
        let (script, keys, args): (_, Vec<&str>, Vec<&str>) = match self.kind {
            Kind::Set { last } => (
                "set",
                vec![lock, fence, queue, withdrawn],
                [vec![use_by, mark, value, held_ttl], if last { vec![&entry[..]] } else { vec![] }].concat(),
            ),
            Kind::Enqueue { ticket, reports } => (
                "enqueue",
                [vec![&lock[..], fence, queue, grace, withdrawn], if reports { vec![&client[..]] } else { vec![] }]
                    .concat(),
                vec![use_by, mark, value, ttl, entry, ticket, "10000", "6000", channel],
            ),
            Kind::Extend => ("extend", vec![lock], vec![use_by, value, held_ttl]),
            Kind::Delete { holds } => ("delete", vec![lock, queue], vec![use_by, if holds { HOLDER } else { value }]),
            Kind::Withdraw { queued } => (
                "withdraw",
                vec![lock, fence, queue, grace, withdrawn],
                vec![use_by, value, if queued { entry } else { "" }, "6000"],
            ),
            Kind::Get => ("get", vec![lock], vec![]),
            Kind::Vote { fence: vote, since } => {
                ("vote", vec![lock, fence, withdrawn, resumed], vec![use_by, value, held_ttl, vote, since, "6000"])
            }
            Kind::WithdrawVote { first, last } => {
                ("withdraw_vote", vec![lock, fence, queue, grace, resumed], vec![use_by, value, first, last])
            }
            Kind::Restore { fence: restored } => {
                ("restore", vec![lock, fence, withdrawn], vec![use_by, value, held_ttl, restored])
            }
        };
        Step::Run { client: self.client, script, keys: words(&keys), args: words(&args) }
    }
}

/// Fences before and after the server's time.
fn fence() -> impl Strategy<Value = &'static str> {
    select(vec!["5", "2000000000000000", "2000000000000001", "2000000000000002"])
}

fn kind() -> impl Strategy<Value = Kind> {
    let ticket = prop_oneof![4 => Just("0"), 1 => select(vec!["1700000000000001", "1700000000000002", "5"])];
    prop_oneof![
        4 => prop::bool::weighted(0.3).prop_map(|last| Kind::Set { last }),
        6 => (ticket, prop::bool::weighted(0.7)).prop_map(|(ticket, reports)| Kind::Enqueue { ticket, reports }),
        1 => Just(Kind::Extend),
        4 => prop::bool::weighted(0.8).prop_map(|holds| Kind::Delete { holds }),
        2 => prop::bool::weighted(0.7).prop_map(|queued| Kind::Withdraw { queued }),
        1 => Just(Kind::Get),
        1 => (fence(), fence()).prop_map(|(fence, since)| Kind::Vote { fence, since }),
        1 => (fence(), fence()).prop_map(|(first, last)| Kind::WithdrawVote { first, last }),
        1 => fence().prop_map(|fence| Kind::Restore { fence }),
    ]
}

fn lock() -> impl Strategy<Value = usize> {
    prop_oneof![5 => Just(0), 1 => Just(1_usize)]
}

/// The values of a client are its own, so that a request is often repeated.
fn request() -> impl Strategy<Value = Step> {
    let value = (0..CLIENTS, 0..2_usize)
        .prop_map(|(client, number)| (client, ["a", "b", "c c", "d", "鎖", "f"][2 * client + number]));
    let ttl = prop_oneof![6 => Just("60000"), 1 => Just("0")];
    let use_by = prop_oneof![20 => Just(FUTURE), 1 => Just("0")];
    let mark = prop_oneof![4 => Just("0"), 1 => Just("6000")];
    (lock(), value, ttl, use_by, mark, kind()).prop_map(|(lock, (client, value), ttl, use_by, mark, kind)| {
        Request { lock, client, value, ttl, use_by, mark, kind }.step()
    })
}

fn subscription() -> impl Strategy<Value = Step> {
    (lock(), 0..CLIENTS, prop::bool::weighted(0.8)).prop_map(|(lock, client, on)| {
        let channel = format!("{}{client:016x}", LOCKS[lock].channel);
        Step::Call { client, words: words(&[if on { "SUBSCRIBE" } else { "UNSUBSCRIBE" }, &channel]) }
    })
}

/// A key of the lock.
pub(super) fn key() -> impl Strategy<Value = String> {
    (lock(), 0..8_usize, 0..CLIENTS).prop_map(|(lock, which, client)| {
        let Keys { lock, fence, queue, grace, withdrawn, resumed, client: reported, .. } = &LOCKS[lock];
        match which {
            0 | 1 => lock.clone(),
            2 => fence.clone(),
            3 => queue.clone(),
            4 => grace.clone(),
            5 => format!("{withdrawn}a"),
            6 => format!("{resumed}a"),
            _ => format!("{reported}{client:016x}"),
        }
    })
}

/// What others do to the keys.
fn interference() -> impl Strategy<Value = Step> {
    const COMMANDS: [&[&str]; 16] = [
        &["SET", "KEY", "foreign", "PX", "60000"],
        &["SET", "KEY", "foreign"],
        &["SET", "KEY", "a\u{1f}5"],
        &["SET", "KEY", "0123456789012345678901234567890123456789", "PX", "6000"],
        &["SET", "KEY", "9007199254740000"],
        &["APPENDED"],
        &["RPUSH", "KEY", "x", "y"],
        &["HSET", "KEY", "x", "y"],
        &["ZADD", "KEY", "5", "malformed"],
        &["ZADD", "KEY", "6", "0000000000000000\u{1f}60000\u{1f}a"],
        &["DEL", "KEY"],
        &["PERSIST", "KEY"],
        &["PEXPIRE", "KEY", "60000"],
        &["PEXPIRE", "KEY", "-1"],
        &["SCRIPT", "FLUSH"],
        &["FLUSHALL"],
    ];
    (key(), select(COMMANDS.to_vec())).prop_map(|(key, command)| {
        let long = "v".repeat(1300);
        let command = if command == ["APPENDED"] { vec!["SET", "KEY", &long] } else { command.to_vec() };
        let command: Vec<_> = command.iter().map(|word| if *word == "KEY" { &key[..] } else { word }).collect();
        Step::Call { client: 0, words: words(&command) }
    })
}

fn inspection() -> impl Strategy<Value = Step> {
    const COMMANDS: [&[&str]; 10] = [
        &["GET", "KEY"],
        &["GETRANGE", "KEY", "0", "1280"],
        &["TYPE", "KEY"],
        &["PTTL", "KEY"],
        &["ZRANGE", "KEY", "0", "-1", "WITHSCORES"],
        &["ZCARD", "KEY"],
        &["MGET", "KEY", "lock:job"],
        &["SCAN", "0", "MATCH", "lock:*", "COUNT", "1000", "TYPE", "string"],
        &["SCAN", "0", "COUNT", "1000"],
        &["EXISTS", "KEY"],
    ];
    (key(), select(COMMANDS.to_vec())).prop_map(|(key, command)| {
        let command: Vec<_> = command.iter().map(|word| if *word == "KEY" { &key[..] } else { word }).collect();
        Step::Call { client: 1, words: words(&command) }
    })
}

/// A client reported at another server, as after a failover.
fn former_report() -> impl Strategy<Value = Step> {
    (lock(), 0..CLIENTS).prop_map(|(lock, client)| {
        let key = format!("{}{client:016x}", LOCKS[lock].client);
        Step::Call { client: 0, words: words(&["SET", &key, "0123456789012345678901234567890123456789", "PX", "6000"]) }
    })
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        24 => request(),
        6 => subscription(),
        2 => interference(),
        2 => former_report(),
        3 => inspection(),
        1 => key().prop_map(Step::Expire),
        1 => prop::bool::weighted(0.4).prop_map(|full| Step::Memory { full }),
    ]
}

#[test]
fn the_scripts_do_the_same_on_both_servers() {
    assert!(LOCKS.iter().all(|keys| keys.lock.ends_with(keys.name)));
    compare(150, prop::collection::vec(step(), 1..40));
}
