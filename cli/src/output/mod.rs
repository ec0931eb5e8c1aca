//! The output: messages on standard error for people, tokens and JSON on standard output for programs.
//!
//! - `stderr`: messages that hold up nothing; `prefixed`: the lines of plugins; `findings`: those of a check.

mod findings;
pub(crate) mod prefixed;
pub(crate) mod stderr;

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::time::{Duration, SystemTime};

use anyhow::Result;
use locker_host::{Error, ErrorKind, ExtendOutcome, Holder, Lease, UnlockOutcome};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::exit_code::{CliError, Exit};

#[derive(Clone, Copy)]
pub(crate) struct Report {
    json: bool,
    quiet: bool,
    in_background: bool,
}

impl Report {
    pub(crate) fn new(json: bool, quiet: bool) -> Self {
        Self { json, quiet, in_background: false }
    }

    /// The same without ever holding up the process: for one that has a command to look after.
    pub(crate) fn in_background(self) -> Self {
        Self { in_background: true, ..self }
    }

    /// A message that `--quiet` suppresses.
    pub(crate) fn info(self, message: &str) {
        if !self.quiet {
            self.warn(message);
        }
    }

    /// A message that `--quiet` does not suppress.
    pub(crate) fn warn(self, message: &str) {
        let line = format!("locker: {message}");
        if self.in_background {
            return stderr::write_later(line);
        }
        // If this fails, it cannot be reported.
        _ = writeln!(std::io::stderr(), "{line}");
    }

    /// Whether answers are for programs.
    pub(crate) fn is_json(self) -> bool {
        self.json
    }

    /// Whether standard error is a terminal, and not quiet.
    pub(crate) fn is_watched(self) -> bool {
        !self.quiet && std::io::stderr().is_terminal()
    }

    pub(crate) fn granted(self, name: &str, lease: &Lease) -> Result<()> {
        if self.json {
            return self.object("granted", name, lease_fields(lease));
        }
        self.info(&format!("acquired {}, expires in {}, fence {}", quoted(name), time(lease.ttl), lease.fence));
        line(lease.token.as_str())
    }

    pub(crate) fn held(self, name: &str, holder: &Holder) -> Result<()> {
        self.info(&format!("{} {}", quoted(name), describe(holder)));
        if self.json { self.object(state(Some(holder)), name, holder_fields(holder)) } else { Ok(()) }
    }

    pub(crate) fn unlocked(self, name: &str, outcome: UnlockOutcome) -> Result<()> {
        match outcome {
            UnlockOutcome::Released => self.outcome("released", name, "was released"),
            UnlockOutcome::Absent => self.outcome("absent", name, ABSENT),
            UnlockOutcome::HeldByOther => self.outcome("held-by-other", name, HELD_BY_OTHER),
        }
    }

    pub(crate) fn revoked(self, name: &str, outcome: UnlockOutcome) -> Result<()> {
        match outcome {
            UnlockOutcome::Released => self.outcome("revoked", name, "was taken from its holder"),
            UnlockOutcome::Absent => self.outcome("absent", name, ABSENT),
            UnlockOutcome::HeldByOther => {
                self.outcome("held-by-other", name, "is held with another fence, and was left alone")
            }
        }
    }

    /// A lock that no keeper holds for a process.
    pub(crate) fn not_kept(self, name: &str, process: Pid) -> Result<()> {
        let sentence = format!("is not held for process {process}: it was released, was lost, or was never taken");
        self.outcome("absent", name, &sentence)
    }

    pub(crate) fn extended(self, name: &str, outcome: &ExtendOutcome) -> Result<()> {
        match outcome {
            ExtendOutcome::Extended(lease) if self.json => self.object("extended", name, lease_fields(lease)),
            ExtendOutcome::Extended(lease) => {
                self.outcome("extended", name, &format!("was extended, expires in {}", time(lease.ttl)))
            }
            ExtendOutcome::Absent => self.outcome("absent", name, ABSENT),
            ExtendOutcome::HeldByOther => self.outcome("held-by-other", name, HELD_BY_OTHER),
        }
    }

    /// The holder of a lock, and when that was seen if it may change.
    pub(crate) fn status(self, name: &str, holder: Option<&Holder>, seen: Option<SystemTime>) -> Result<()> {
        let seen = seen.map(|seen| humantime::format_rfc3339_millis(seen).to_string());
        if self.json {
            let mut fields = holder.map_or_else(|| json!({}), holder_fields);
            if let Some(seen) = seen {
                fields["time"] = seen.into();
            }
            return self.object(state(holder), name, fields);
        }
        let seen = seen.map(|seen| seen + " ").unwrap_or_default();
        let state = holder.map_or_else(|| "is free".to_owned(), describe);
        line(&(seen + state.strip_prefix("is ").unwrap_or(&state)))
    }

    pub(crate) fn list(self, locks: &BTreeMap<String, Holder>) -> Result<()> {
        if self.json {
            let object = |(name, holder)| {
                let mut fields = holder_fields(holder);
                fields["name"] = Value::from(String::as_str(name));
                fields
            };
            return line(&Value::from_iter(locks.iter().map(object)).to_string());
        }
        let head = ["NAME", "OWNER", "FENCE", "LEFT"].map(str::to_owned);
        let row = |(name, holder): (&String, &Holder)| {
            let owner = holder.owner.as_deref().map_or_else(|| "-".to_owned(), quoted);
            let fence = if holder.fence == 0 { "-".to_owned() } else { holder.fence.to_string() };
            let left = holder.ttl.map_or_else(|| "no expiry".to_owned(), time);
            [quoted(name), owner, fence, if holder.done.is_some() { left + ", done" } else { left }]
        };
        let rows: Vec<_> = std::iter::once(head).chain(locks.iter().map(row)).collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
        let (name, owner, fence) = (width(0), width(1), width(2));
        rows.iter().try_for_each(|[a, b, c, d]| line(&format!("{a:name$}  {b:owner$}  {c:fence$}  {d}")))
    }

    pub(crate) fn error(self, error: &anyhow::Error) {
        let ours = error.downcast_ref::<Error>();
        // These errors already include their cause.
        let message = ours.map_or_else(|| format!("{error:#}"), ToString::to_string);
        self.warn(&message);
        if self.json {
            let kind = ours.map_or(ErrorKind::Fault, Error::kind).name();
            // The exit code says so.
            _ = line(&json!({ "outcome": "error", "kind": kind, "message": message }).to_string());
        }
    }

    fn outcome(self, outcome: &str, name: &str, sentence: &str) -> Result<()> {
        self.info(&format!("{} {sentence}", quoted(name)));
        if self.json { self.object(outcome, name, json!({})) } else { Ok(()) }
    }

    fn object(self, outcome: &str, name: &str, mut fields: Value) -> Result<()> {
        fields["outcome"] = outcome.into();
        fields["name"] = name.into();
        line(&fields.to_string())
    }
}

const ABSENT: &str = "is not held: it was released, has expired, or was never taken";
const HELD_BY_OTHER: &str = "is held by another token, and was left alone";

fn line(text: &str) -> Result<()> {
    writeln!(std::io::stdout(), "{text}").map_err(unwritten)
}

fn lease_fields(lease: &Lease) -> Value {
    json!({ "token": lease.token.as_str(), "fence": lease.fence, "ttl_ms": millis(lease.ttl) })
}

fn holder_fields(holder: &Holder) -> Value {
    let (ttl_ms, done_ms) = (holder.ttl.map(millis), holder.done.map(millis));
    json!({ "owner": holder.owner, "fence": holder.fence, "ttl_ms": ttl_ms, "done_ms": done_ms })
}

/// What a lock is, in a word for programs.
fn state(holder: Option<&Holder>) -> &'static str {
    match holder {
        None => "free",
        Some(holder) if holder.done.is_some() => "done",
        Some(_) => "held",
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// What its holder makes of a lock, as the end of a sentence about it.
pub(crate) fn describe(holder: &Holder) -> String {
    if let Some(done) = holder.done {
        let (by, now) = (holder.owner.as_ref().map(|owner| format!(" by {}", quoted(owner))), SystemTime::now());
        let at = |time: Option<SystemTime>| time.map(|time| humantime::format_rfc3339_seconds(time).to_string());
        let at = |time| at(time).unwrap_or_else(|| "an unknown time".to_owned());
        let (before, next) = (at(now.checked_sub(done)), at(now.checked_add(holder.ttl.unwrap_or_default())));
        return format!("was done{} at {before}, next at {next}", by.unwrap_or_default());
    }
    let owner = holder.owner.as_ref().map_or_else(|| "by another".to_owned(), |owner| format!("by {}", quoted(owner)));
    let until = holder
        .ttl
        .map_or_else(|| "by a foreign value that never expires".to_owned(), |ttl| format!("for {} more", time(ttl)));
    let fence = if holder.fence == 0 { String::new() } else { format!(", with fence {}", holder.fence) };
    format!("is held {owner} {until}{fence}")
}

/// A time that is easy to read: to the millisecond below ten seconds, to the second above.
fn time(duration: Duration) -> String {
    let unit = if duration < Duration::from_secs(10) { 1 } else { 1000 };
    let rounded = millis(duration) / unit * unit;
    humantime::format_duration(Duration::from_millis(rounded)).to_string()
}

/// Names and labels are untrusted: quoted, so that they cannot pass for messages of `locker`.
pub(crate) fn quoted(text: &str) -> String {
    format!("{text:?}")
}

/// Writes bytes to standard output.
pub(crate) fn print(bytes: &[u8]) -> Result<()> {
    std::io::stdout().write_all(bytes).map_err(unwritten)
}

/// A process whose reader has gone dies of SIGPIPE, which Rust ignores.
fn unwritten(error: std::io::Error) -> anyhow::Error {
    let exit = match error.kind() {
        std::io::ErrorKind::BrokenPipe => Exit::Signal(Signal::SIGPIPE as i32),
        _ => Exit::Fault,
    };
    CliError(exit, format!("cannot write to standard output: {error}")).into()
}
