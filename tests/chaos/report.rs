//! What came of it.

use std::collections::BTreeMap;
use std::fmt;
use std::process::Output;
use std::time::Duration;

use super::plan::{CONTENDERS, How, Start, Whom};
use super::work::{Note, OVERLAP};
use crate::harness::Fault;

/// How one command ended.
pub(super) struct Ended {
    pub(super) who: &'static str,
    pub(super) start: Start,
    /// Whether there was a process to harm.
    pub(super) was_harmed: bool,
    /// None if it did not end.
    pub(super) output: Option<Output>,
    pub(super) stderr: String,
}

/// How a round ended.
pub(super) struct Outcome {
    pub(super) number: u64,
    pub(super) ended: [Ended; CONTENDERS],
    /// Whether the store did not answer for a time, since a process was stopped in the middle of a step.
    pub(super) was_blocked: bool,
    pub(super) notes: Vec<Note>,
}

#[derive(Default)]
pub(super) struct Report {
    pub(super) took: Duration,
    counts: BTreeMap<&'static str, u64>,
    codes: BTreeMap<String, u64>,
    pub(super) violations: Vec<String>,
}

impl Ended {
    fn code(&self) -> Option<i32> {
        self.output.as_ref().and_then(|output| output.status.code())
    }

    /// Whether the runner was killed, so that its command may outlive it for a time.
    pub(super) fn is_orphan(&self) -> bool {
        self.code().is_none()
    }

    fn faults(&self) -> impl Iterator<Item = &'static str> {
        let late = self.start.late.map(|late| match late {
            Fault::DelayMessage(..) => "late messages",
            _ => "late answers",
        });
        let harm = self.start.harm.filter(|_| self.was_harmed).map(|harm| match (harm.whom, harm.how) {
            (Whom::Runner, How::Kill) => "runners killed",
            (Whom::Runner, _) => "runners stopped",
            (Whom::Guardian, How::Kill) => "guardians killed",
            (Whom::Guardian, _) => "guardians stopped",
            (Whom::Command, How::Kill) => "commands killed",
            (Whom::Command, _) => "commands stopped",
        });
        [late, harm].into_iter().flatten()
    }

    /// What is wrong with its end.
    fn violation(&self, was_blocked: bool) -> Option<&'static str> {
        if self.output.is_none() {
            return Some("it did not end");
        }
        (self.has_failed_alone() && !was_blocked)
            .then_some("nothing happened to it, and it did not exit with its own code")
    }

    fn has_failed_alone(&self) -> bool {
        self.start.is_left_alone() && self.code() != Some(self.start.code.into())
    }
}

impl Report {
    pub(super) fn add(&mut self, outcome: Outcome) {
        let Outcome { number, ended, was_blocked, notes } = outcome;
        let overlaps = notes.iter().any(|note| note.what == "overlap") || overlap(&notes);
        let wrong =
            ended.iter().filter_map(|ended| ended.violation(was_blocked).map(|what| format!("{}: {what}", ended.who)));
        let wrong: Vec<_> =
            overlaps.then(|| "two commands ran at a time".to_owned()).into_iter().chain(wrong).collect();
        for ended in &ended {
            self.count("starts");
            ended.faults().for_each(|fault| self.count(fault));
            if was_blocked && ended.has_failed_alone() {
                self.count("left alone, and failed while the store was blocked");
            }
            let code = ended.code().map_or_else(|| "killed".to_owned(), |code| code.to_string());
            let code = if ended.code() == Some(ended.start.code.into()) { "its own".to_owned() } else { code };
            *self.codes.entry(code).or_default() += 1;
        }
        notes.iter().filter(|note| note.what == "start").for_each(|_| self.count("commands begun"));
        if !wrong.is_empty() {
            let notes: Vec<_> = notes.iter().map(|note| format!("{} {} {}", note.name, note.what, note.at)).collect();
            let told: Vec<_> =
                ended.iter().map(|end| format!("{:?} {:?} {}", end.start, end.code(), end.stderr)).collect();
            self.violations.push(format!("round {number}: {wrong:?}\n  {}\n  {}", told.join("\n  "), notes.join("; ")));
        }
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }
}

/// Whether the times overlap that two commands wrote down.
fn overlap(notes: &[Note]) -> bool {
    let at =
        |name: &str, what: &str| notes.iter().find(|note| note.name == name && note.what == what).map(|note| note.at);
    let mut times: Vec<_> = ["a", "b", "c"].iter().filter_map(|name| at(name, "start").zip(at(name, "end"))).collect();
    times.sort_unstable();
    times.windows(2).any(|pair| pair[1].0 < pair[0].1)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, count) in &self.counts {
            writeln!(f, "{count:>8}  {what}")?;
        }
        for (code, count) in &self.codes {
            let what = if *code == OVERLAP.to_string() { " (not alone)" } else { "" };
            writeln!(f, "{count:>8}  exit {code}{what}")?;
        }
        writeln!(f, "{:>8}  violations, in {:.0?}", self.violations.len(), self.took)?;
        self.violations.iter().try_for_each(|violation| writeln!(f, "\n{violation}"))
    }
}
