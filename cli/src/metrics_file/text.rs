//! Prometheus' text format.

use std::fmt::Display;
use std::time::Duration;

use super::metrics::{Attempt, OUTCOMES, Totals};

const ATTEMPTS: &str = "locker_job_attempts_total";
const WAITED: &str = "locker_job_waited_seconds_total";
const RAN: &str = "locker_job_ran_seconds_total";
const LAST_SUCCESS: &str = "locker_job_last_success_timestamp_seconds";

/// What a file turned out to have.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// The totals of this job.
    Ours(Totals),
    /// It was written by `locker`, but lacks something that it wrote.
    Damaged,
    /// Metrics of another lock.
    OfAnotherLock,
    /// Something else.
    Foreign,
}

/// The file of a lock after one more call, whose totals these are.
pub(super) fn write(lock: &str, totals: &Totals, attempt: &Attempt) -> String {
    let mut text = Text { lock, text: String::new() };
    let attempts = OUTCOMES.iter().zip(totals.attempts).map(|((_, outcome), count)| (Some(*outcome), count));
    text.family(ATTEMPTS, "counter", "Calls for this job, by outcome.", attempts);
    text.single(WAITED, "counter", "Time spent waiting for the lock.", seconds(totals.waited));
    text.single(RAN, "counter", "Time that the command ran.", seconds(totals.ran));
    text.single("locker_job_exit_code", "gauge", "Exit code of the last call.", attempt.exit_code);
    let waited = seconds(attempt.waited);
    text.single("locker_job_last_wait_seconds", "gauge", "Time that the last call waited for the lock.", waited);
    let ran = seconds(attempt.ran);
    text.single("locker_job_last_run_seconds", "gauge", "Time that the command of the last call ran.", ran);
    let ended = seconds(attempt.ended);
    text.single("locker_job_last_attempt_timestamp_seconds", "gauge", "When the last call ended.", ended);
    let success = seconds(totals.last_success);
    text.single(LAST_SUCCESS, "gauge", "When the command last exited with 0 under its lock; 0 if never.", success);
    text.text
}

/// What the text of a file has, for this lock.
pub(super) fn read(text: &str, lock: &str) -> Content {
    if text.is_empty() {
        // What a file system may leave of a file after a crash.
        return Content::Ours(Totals::default());
    }
    if !text.starts_with(&format!("# HELP {ATTEMPTS} ")) {
        return Content::Foreign;
    }
    let of_any = format!("{ATTEMPTS}{{lock=\"");
    let ours = format!("{ATTEMPTS}{}", labels(lock, Some(OUTCOMES[0].1)));
    let other = format!("\",outcome=\"{}\"}} ", OUTCOMES[0].1);
    match text.lines().find(|line| line.starts_with(&of_any)) {
        Some(line) if line.starts_with(&ours) && text.ends_with('\n') => {
            totals(text, lock).map_or(Content::Damaged, Content::Ours)
        }
        Some(line) if !line.starts_with(&ours) && line.contains(&other) => Content::OfAnotherLock,
        _ => Content::Damaged,
    }
}

fn totals(text: &str, lock: &str) -> Option<Totals> {
    let value = |name: &str, outcome: Option<&str>| {
        let series = format!("{name}{} ", labels(lock, outcome));
        text.lines().find_map(|line| line.strip_prefix(&series))
    };
    let time = |name| Duration::try_from_secs_f64(value(name, None)?.parse().ok()?).ok();
    let mut attempts = [0; OUTCOMES.len()];
    for (count, (_, outcome)) in attempts.iter_mut().zip(OUTCOMES) {
        *count = value(ATTEMPTS, Some(outcome))?.parse().ok()?;
    }
    Some(Totals { attempts, waited: time(WAITED)?, ran: time(RAN)?, last_success: time(LAST_SUCCESS)? })
}

struct Text<'a> {
    lock: &'a str,
    text: String,
}

impl Text<'_> {
    fn single(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.family(name, kind, help, [(None, value)]);
    }

    fn family<'a, V: Display>(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Option<&'a str>, V)>,
    ) {
        self.text += &format!("# HELP {name} {help}\n# TYPE {name} {kind}\n");
        for (outcome, value) in samples {
            self.text += &format!("{name}{} {value}\n", labels(self.lock, outcome));
        }
    }
}

fn labels(lock: &str, outcome: Option<&str>) -> String {
    let lock = lock.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
    let outcome = outcome.map(|outcome| format!(",outcome=\"{outcome}\"")).unwrap_or_default();
    format!("{{lock=\"{lock}\"{outcome}}}")
}

fn seconds(time: Duration) -> String {
    format!("{:.3}", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::super::metrics::Outcome;
    use super::*;

    const ATTEMPT: Attempt = Attempt {
        outcome: Outcome::Done,
        exit_code: 0,
        waited: Duration::from_millis(1500),
        ran: Duration::from_secs(3600),
        ended: Duration::from_secs(1_800_000_000),
    };

    fn file(lock: &str, totals: &Totals) -> String {
        write(lock, totals, &ATTEMPT)
    }

    #[test]
    fn what_was_written_is_read_again() {
        for lock in ["job", "a\"b\\c\nd", "{}", "Bücher 1", "job\",outcome=\"done"] {
            let totals = Totals::default().with(&ATTEMPT).with(&ATTEMPT);
            assert_eq!((totals.attempts[0], totals.waited), (2, Duration::from_secs(3)));
            assert_eq!(read(&file(lock, &totals), lock), Content::Ours(totals));
        }
    }

    #[test]
    fn a_text_that_ends_early_is_damaged() {
        let text = file("job", &Totals::default());
        let head = text.lines().next().unwrap().len();
        for end in head..text.len() {
            assert_eq!(read(&text[..end], "job"), Content::Damaged, "{}", &text[..end]);
        }
    }

    #[test]
    fn metrics_of_another_lock_and_other_texts_are_told_apart() {
        let text = file("job", &Totals::default());
        for lock in ["jo", "job2", "Job", "job\""] {
            assert_eq!(read(&text, lock), Content::OfAnotherLock, "{lock}");
        }
        assert_eq!(read("node_load1 0.5\n", "job"), Content::Foreign);
        assert_eq!(read("", "job"), Content::Ours(Totals::default()));
    }

    #[test]
    fn numbers_that_no_counter_has_are_damage() {
        let text = file("job", &Totals::default());
        for number in ["-1", "NaN", "inf", "1e400", "x", ""] {
            let text = text.replace("done\"} 0", &format!("done\"}} {number}"));
            assert_eq!(read(&text, "job"), Content::Damaged, "{number}");
        }
    }
}
