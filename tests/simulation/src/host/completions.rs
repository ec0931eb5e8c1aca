//! Callers whose work is done for a period.

use std::time::Duration;

use locker_host::{Error, UnlockOutcome};

use super::caller::Caller;
use super::invariants::HostInvariant::CompletionsLast;
use super::ledger::{CLOCKS_DIFFER_BY, Ledger};

/// Work that was done under a lock, which stays taken.
#[derive(Debug)]
pub(super) struct Completed {
    name: String,
    /// What is under the key.
    value: String,
    fence: u64,
    until: Duration,
    /// The server lost data since.
    pub(super) excused: bool,
}

/// Two clocks with milliseconds may differ by one.
const TICK: Duration = Duration::from_millis(1);

/// Whether a value says that work is done.
pub(super) fn is_record(value: &str) -> bool {
    value.contains('!')
}

impl Ledger {
    /// A caller was told that its work is recorded until then.
    fn completes(&mut self, name: &str, token: &str, until: Duration, now: Duration) {
        let start = format!("{token}!");
        let record = self.values.range(start.clone()..).next().filter(|(value, _)| value.starts_with(&start));
        let Some((value, record)) = record else {
            // A short period may be over before a majority has the record.
            if self.losses == 0 && now < until {
                self.violated(CompletionsLast, format!("{token} is told that its work is recorded, and it is not"));
            }
            return;
        };
        let (value, excused) = (value.clone(), record.excused);
        // A call that was repeated, or a failover, may have granted the lock to the token again, with another fence.
        let may_differ = self.chosen.contains(token) || self.lease(token).is_some_and(|lease| lease.excused);
        let stored = self.truths.get(name).and_then(|truth| truth.entry.as_ref()).filter(|entry| entry.value == value);
        let stored = stored.map(|entry| entry.fence).filter(|_| may_differ);
        let fence = stored.or(self.lease(token).map(|lease| lease.fence)).unwrap_or_default();
        let until = until.saturating_sub(TICK);
        let until = if self.is_quorum() { until - until.saturating_sub(now) / CLOCKS_DIFFER_BY } else { until };
        self.completed.push(Completed { name: name.to_owned(), value, fence, until, excused });
        self.check_completed(name, now);
    }

    /// A caller is not refused whose work is recorded.
    fn check_refused(&mut self, name: &str, token: &str, outcome: UnlockOutcome) {
        let entry = self.truths.get(name).and_then(|truth| truth.entry.as_ref());
        if entry.is_some_and(|entry| entry.value.starts_with(&format!("{token}!"))) {
            self.violated(CompletionsLast, format!("{token} is told {outcome:?}, and its work is recorded"));
        }
    }

    /// A lock whose work is done stays taken, with its fence.
    pub(super) fn check_completed(&mut self, name: &str, now: Duration) {
        if self.completed.is_empty() {
            return;
        }
        let entry = self.truths.get(name).and_then(|truth| truth.entry.as_ref());
        let lost = self.completed.iter().find(|record| {
            let lasts = entry.is_some_and(|entry| entry.value == record.value && entry.fence == record.fence);
            record.name == name && now < record.until && !record.excused && !lasts && !self.is_excused(&record.value)
        });
        if let Some(what) = lost.map(|record| format!("{record:?}, and the store has {entry:?}")) {
            self.violated(CompletionsLast, what);
        }
    }
}

impl Caller {
    /// The answer to a caller whose work is to count as done until then.
    pub(super) fn completed(
        &self,
        (name, token): (&str, &str),
        answer: Result<UnlockOutcome, Error>,
        (started, until): (Duration, Duration),
        had: Option<Vec<usize>>,
    ) {
        match answer {
            Ok(UnlockOutcome::Released) if until > started => {
                self.world.tell(|| format!("{token} has done {name} until {until:?}"));
                self.world.ledger(|ledger, now| ledger.completes(name, token, until, now));
            }
            Ok(outcome) => {
                self.world.ledger(|ledger, _| ledger.check_refused(name, token, outcome));
                self.released((name, token), outcome, started, had);
            }
            Err(error) => self.failed(&error, started),
        }
    }
}
