//! `docs/protocol.md` is true of the scripts and of a real server.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use locker_host::QuorumMember;
use locker_host::cache::Vote;
use redis::{AsyncConnectionConfig, PushInfo, PushKind, Value};
use rstest::rstest;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::harness::{HeldLock, LONG, RedisServer, Waiter, granted, held, key_of, until};

const PAGE: &str = include_str!("../../docs/protocol.md");

/// The rows of the table whose first columns are these.
fn table(columns: &str) -> Vec<Vec<String>> {
    let rows = PAGE.lines().skip_while(|line| !line.starts_with(columns)).skip(2);
    let cells = |row: &str| row.trim_matches('|').split('|').map(|cell| cell.trim().replace('␟', "\u{1f}")).collect();
    let rows: Vec<Vec<_>> = rows.take_while(|line| line.starts_with('|')).map(cells).collect();
    assert!(!rows.is_empty(), "the page has no table {columns}");
    rows
}

/// The words of a text that are marked as code.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Whether a text has a documented form. Words in capitals stand for something.
fn has_form(text: &str, form: &str) -> bool {
    let Some(at) = form.find(|char: char| char.is_ascii_uppercase()) else { return text == form };
    let (literal, rest) = form.split_at(at);
    let (word, rest) = rest.split_at(rest.find(|char: char| !char.is_ascii_uppercase()).unwrap_or(rest.len()));
    let Some(text) = text.strip_prefix(literal) else { return false };
    let mut ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
    ends.any(|end| stands_for(word, &text[..end]) && has_form(&text[end..], rest))
}

fn stands_for(word: &str, text: &str) -> bool {
    let hex = |length| text.len() == length && text.chars().all(|char| char.is_ascii_hexdigit());
    match word {
        "NAME" => text == "job",
        "VALUE" => !text.is_empty() && !text.contains(char::is_control),
        "TAG" | "FENCE" | "TTL" | "TIME" => text.parse::<u64>().is_ok(),
        "CLIENT" => hex(16),
        "RUNID" => hex(40),
        _ => panic!("the page does not say what {word} is"),
    }
}

/// The key under which the client of the only entry reports.
async fn client_key(server: &RedisServer) -> String {
    let [[client, ..]] = &server.entries("job").await[..] else { panic!("one caller is queued") };
    key_of("client", "job") + client
}

/// Checks type, content and expiry of each key, and answers which rows of the page the keys have.
async fn documented_keys(server: &RedisServer) -> BTreeSet<String> {
    let rows = table("| key | type |");
    let mut seen = BTreeSet::new();
    for key in server.keys().await {
        let row = rows.iter().find(|row| has_form(&key, row[0].trim_matches('`')));
        let row = row.unwrap_or_else(|| panic!("the page does not mention {key:?}"));
        check(server, &key, row).await;
        let words = row[0].split_once('\u{1f}').and_then(|(_, rest)| rest.split_once('{'));
        seen.insert(words.map_or("lock", |(word, _)| word).to_owned());
    }
    seen
}

async fn check(server: &RedisServer, key: &str, row: &[String]) {
    let [_, type_of_key, content, expires] = row else { panic!("{row:?}") };
    let found: String = server.run(&["TYPE", key]).await;
    assert_eq!(found.replace("zset", "sorted set"), *type_of_key, "{key:?}");
    let contents: Vec<String> = match &found[..] {
        "zset" => server.run(&["ZRANGE", key, "0", "-1"]).await,
        _ => vec![server.run(&["GET", key]).await],
    };
    assert!(contents.iter().all(|found| has_form(found, content.trim_matches('`'))), "{key:?}: {contents:?}");
    let left: i64 = server.run(&["PTTL", key]).await;
    let most = match &expires[..] {
        "never" => return assert_eq!(left, -1, "{key:?}"),
        "after the time to live" => LONG,
        seconds => humantime::parse_duration(seconds.strip_prefix("after ").unwrap()).unwrap(),
    };
    // It was made just now.
    let left = Duration::from_millis(left.try_into().expect("the key expires"));
    assert!(left <= most && left > most / 2, "{key:?}: {left:?} of {most:?}");
}

#[derive(Clone, Copy, Debug)]
enum Situation {
    Held,
    Queued,
    HandedOff,
    Withdrawn,
    /// A call of a quorum counts the vote of an earlier one.
    Resumed,
    /// The head of the queue has not subscribed again after a failover.
    Grace,
}

impl Situation {
    async fn bring_about(self, lock: &HeldLock) -> Option<Waiter> {
        match self {
            Self::Held => None,
            Self::Queued => Some(lock.waiter().await),
            Self::HandedOff => {
                let waiter = lock.waiter().await;
                lock.release().await;
                granted(waiter.await.unwrap());
                None
            }
            Self::Withdrawn => {
                let waiter = lock.waiter().await;
                waiter.abort();
                until(async || lock.server.queued("job").await == 0).await;
                None
            }
            Self::Resumed => {
                lock.release().await;
                for revision in [1 << 52, (1 << 52) + 1] {
                    let vote = Vote { value: "token", ttl: LONG, revision, since: revision };
                    lock.server.redis().vote("job", vote).await.unwrap();
                }
                None
            }
            Self::Grace => {
                let (queue, run_id, absent) = (key_of("queue", "job"), "0".repeat(40), "0".repeat(16));
                let entry = [&absent, "60000", "value"].join("\u{1f}");
                _ = lock.server.run::<u64>(&["ZADD", &queue, "1", &entry]).await;
                () = lock.server.run(&["PEXPIRE", &queue, "10000"]).await;
                () = lock.server.run(&["SET", &(key_of("client", "job") + &absent), &run_id, "PX", "6000"]).await;
                () = lock.server.run(&["DEL", "lock:job"]).await;
                held(lock.holder.lock("job", LONG).await);
                None
            }
        }
    }
}

#[rstest]
#[case(Situation::Held, &["lock", "fence"])]
#[case(Situation::Queued, &["lock", "fence", "queue", "client"])]
#[case(Situation::HandedOff, &["lock", "fence", "client"])]
#[case(Situation::Withdrawn, &["lock", "fence", "client", "withdrawn"])]
#[case(Situation::Resumed, &["lock", "fence", "resumed"])]
#[case(Situation::Grace, &["fence", "queue", "client", "grace"])]
#[tokio::test]
async fn every_key_has_the_form_the_type_and_the_expiry_that_the_page_documents(
    #[case] situation: Situation,
    #[case] keys: &[&str],
) {
    let lock = HeldLock::start().await;
    let _waiter = situation.bring_about(&lock).await;
    assert_eq!(documented_keys(&lock.server).await, keys.iter().map(ToString::to_string).collect());
}

/// A subscription to all channels.
async fn subscribe_to_all(server: &RedisServer) -> (redis::aio::MultiplexedConnection, UnboundedReceiver<PushInfo>) {
    let (sender, pushes) = unbounded_channel();
    let client = redis::Client::open(format!("{}?protocol=resp3", server.url())).unwrap();
    let config = AsyncConnectionConfig::new().set_push_sender(sender);
    let mut connection = client.get_multiplexed_async_connection_with_config(&config).await.unwrap();
    connection.psubscribe("*").await.unwrap();
    (connection, pushes)
}

/// The next message, and its channel.
async fn next_message(pushes: &mut UnboundedReceiver<PushInfo>) -> (String, String) {
    loop {
        let push = pushes.recv().await.expect("the connection stays");
        if let (PushKind::PMessage, [_, Value::BulkString(channel), Value::BulkString(message)]) =
            (push.kind, &push.data[..])
        {
            return (String::from_utf8_lossy(channel).into_owned(), String::from_utf8_lossy(message).into_owned());
        }
    }
}

#[rstest]
#[case::a_waiter_has_the_lock(true, true, "handed over")]
#[case::a_waiter_did_not_report(true, false, "reports again")]
#[case::a_watcher_may_find_the_lock_free(false, true, "may be free")]
#[tokio::test]
async fn a_message_has_the_form_that_the_page_documents(
    #[case] waits: bool,
    #[case] reports: bool,
    #[case] meaning: &str,
) {
    let lock = HeldLock::start().await;
    let (_connection, mut pushes) = subscribe_to_all(&lock.server).await;
    let redis = lock.server.redis();
    let watcher = async { redis.watch("job", LONG).await.unwrap() };
    let messages = async {
        let _waiter = if waits { Some(lock.waiter().await) } else { None };
        until(async || lock.server.queued("job").await == 1).await;
        if !reports {
            _ = lock.server.run::<u64>(&["DEL", &client_key(&lock.server).await]).await;
        }
        lock.release().await;
        next_message(&mut pushes).await
    };
    let (channel, message) = if waits { messages.await } else { tokio::join!(messages, watcher).0 };
    let rows = table("| message |").into_iter().filter(|row| has_form(&message, row[0].trim_matches('`')));
    let meanings: Vec<_> = rows.map(|row| row[1].clone()).collect();
    assert!(matches!(&meanings[..], [only] if only.contains(meaning)), "{message:?} means {meanings:?}");
    let documented = code(PAGE).find(|code| code.contains("wake{")).expect("the page names the channel");
    assert!(has_form(&channel, &documented.replace('␟', "\u{1f}")), "{channel:?}");
}

/// The scripts, each with its header: the comment at its beginning.
fn scripts() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../host/src/store/redis/lua");
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let script = |file: std::path::PathBuf| {
        let text = std::fs::read_to_string(&file).unwrap();
        let header: Vec<_> = text.lines().map_while(|line| line.strip_prefix("-- ")).collect();
        (file.file_stem().unwrap().to_str().unwrap().to_owned(), header.join(" "))
    };
    // The others are parts of scripts.
    files.map(script).filter(|(_, header)| header.contains("KEYS: ")).collect()
}

/// The keys and arguments that the header of a script specifies.
fn specified(header: &str) -> [String; 2] {
    let (_, rest) = header.split_once("KEYS: ").unwrap();
    let (specified, _) = rest.split_once("Returns").expect("a header ends with what the script returns");
    let (keys, arguments) = specified.split_once("ARGV: ").unwrap_or((specified, ""));
    [keys, arguments].map(|words| words.trim().trim_end_matches('.').to_owned())
}

#[test]
fn the_page_has_the_scripts_that_there_are_with_their_keys_and_arguments() {
    let documented: BTreeSet<_> = table("| script | does |")
        .into_iter()
        .map(|row| (row[0].trim_matches('`').to_owned(), [row[2].clone(), row[3].clone()]))
        .collect();
    let specified = scripts().into_iter().map(|(script, header)| (script, specified(&header))).collect();
    assert_eq!(documented, specified);
}

#[test]
fn the_page_has_the_outcomes_of_each_script() {
    let words = |text: &str| code(text).map(str::to_owned).collect::<BTreeSet<_>>();
    let documented: BTreeSet<_> = table("| script | outcomes ")
        .into_iter()
        .map(|row| (row[0].trim_matches('`').to_owned(), words(&row[1])))
        .collect();
    let returns = |header: &str| words(header.split_once("Returns").unwrap().1);
    let specified = scripts().into_iter().map(|(script, header)| (script, returns(&header))).collect();
    assert_eq!(documented, specified);
}
