//! What a request asks of the server, for the trace and the ledger.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::LazyLock;

use redis::Value;

/// The words of a request.
pub(super) type Words = Vec<Vec<u8>>;

/// The scripts by their hashes.
static NAMES: LazyLock<BTreeMap<String, &'static str>> = LazyLock::new(|| {
    let hashed = |(name, code): (&'static str, &str)| (redis::Script::new(code).get_hash().to_owned(), name);
    locker_host::simulation::scripts().into_iter().map(hashed).collect()
});

/// The parts of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// The script, or the command.
    pub(super) what: String,
    pub(super) keys: Vec<String>,
    pub(super) args: Vec<String>,
}

impl Asked {
    pub(super) fn of(words: &Words) -> Self {
        let text = |word: &Vec<u8>| {
            String::from_utf8(word.clone()).unwrap_or_else(|_| String::from_utf8_lossy(word).into_owned())
        };
        let words: Vec<String> = words.iter().map(text).collect();
        match &words[..] {
            [command, hash, count, rest @ ..] if command == "EVALSHA" => {
                let (keys, args) = rest.split_at(count.parse::<usize>().unwrap_or(0).min(rest.len()));
                let what = NAMES.get(hash).map_or("an unknown script", |name| *name).to_owned();
                Self { what, keys: keys.to_vec(), args: args.to_vec() }
            }
            [command, word, ..] if command == "SCRIPT" => {
                Self { what: format!("SCRIPT {word}"), keys: Vec::new(), args: Vec::new() }
            }
            [command, rest @ ..] => Self { what: command.clone(), keys: Vec::new(), args: rest.to_vec() },
            [] => Self { what: String::new(), keys: Vec::new(), args: Vec::new() },
        }
    }

    /// The lock that it is about.
    pub(super) fn lock(&self) -> Option<&str> {
        self.keys.first()?.strip_prefix("lock:")
    }

    /// The value that it is about.
    pub(super) fn value(&self) -> Option<&str> {
        let at = match &self.what[..] {
            "set" | "enqueue" => 2,
            "extend" | "delete" | "withdraw" => 1,
            _ => return None,
        };
        self.args.get(at).map(String::as_str)
    }

    /// Whether the value is in no queue after it.
    pub(super) fn leaves_queue(&self) -> bool {
        self.what == "withdraw" || self.is_last_step()
    }

    /// Whether it is the last step of a wait.
    pub(super) fn is_last_step(&self) -> bool {
        self.what == "set" && self.args.len() > 4
    }

    /// Whether it serves the queue of a free lock, if that is its outcome: what is refused changes nothing.
    pub(super) fn serves(&self, outcome: &str) -> bool {
        match &self.what[..] {
            // One that listens for changes leaves a free lock to the waiters.
            "enqueue" if self.value() == Some("listen") => false,
            "set" | "enqueue" => !matches!(outcome, "late" | "withdrawn"),
            "delete" | "withdraw" => outcome != "late",
            _ => false,
        }
    }

    /// The server time until which it may take effect.
    pub(super) fn use_by(&self) -> u64 {
        self.args.first().and_then(|use_by| use_by.parse().ok()).unwrap_or_default()
    }
}

/// The label of the call that a value is of.
pub(super) fn label_of(value: &str) -> &str {
    value.split(':').next().unwrap_or(value)
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        for word in self.keys.iter().take(1).chain(&self.args) {
            write!(f, " {}", word.replace('\u{1f}', "/"))?;
        }
        Ok(())
    }
}

/// The outcome of a script.
pub(super) fn outcome(reply: &Value) -> Option<&str> {
    let Value::Array(fields) = reply else { return None };
    let Value::BulkString(outcome) = fields.get(1)? else { return None };
    std::str::from_utf8(outcome).ok()
}

/// A reply in words.
pub(super) fn told(reply: &Value) -> String {
    match reply {
        Value::Array(fields) => fields.iter().map(told).collect::<Vec<_>>().join(" "),
        Value::BulkString(text) => String::from_utf8_lossy(text).replace('\u{1f}', "/"),
        Value::Int(number) => number.to_string(),
        other => format!("{other:?}"),
    }
}
