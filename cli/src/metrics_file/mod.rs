//! `--metrics-file`: what became of a job, for the textfile collector of Prometheus' node_exporter.
//!
//! - `metrics`: the values and how they add up; `text`: the format; `file`: reading and replacing the file.

mod file;
mod metrics;
mod text;

use std::cell::Cell;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use crate::args::Command;
use crate::exit_code::Exit;
use crate::output::Report;
use metrics::{Attempt, Outcome};

/// What a job does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It waits for its lock.
    Waiting,
    /// Its command runs.
    Running,
    Idle,
}

/// A job whose times are taken. It begins by waiting.
pub(crate) struct Job {
    lock: String,
    file: Option<PathBuf>,
    phase: Cell<(Phase, Instant)>,
    waited: Cell<Duration>,
    ran: Cell<Option<Duration>>,
    is_held: Cell<bool>,
}

impl Job {
    /// The job of a command line. Without an option that says where to, it writes nothing.
    pub(crate) fn of(command: &Command) -> Self {
        let (lock, file) = match command {
            Command::Exec(exec) => (exec.name.clone(), exec.metrics.metrics_file.clone()),
            Command::Lead(lead) => (lead.name.clone(), lead.metrics.metrics_file.clone()),
            _ => (String::new(), None),
        };
        Self {
            lock,
            file,
            phase: Cell::new((Phase::Waiting, Instant::now())),
            waited: Cell::default(),
            ran: Cell::default(),
            is_held: Cell::default(),
        }
    }

    /// Counts the time since the last call as that of the phase which ends now.
    pub(crate) fn enter(&self, phase: Phase) {
        let now = Instant::now();
        let (last, since) = self.phase.replace((phase, now));
        let time = now.saturating_duration_since(since);
        match last {
            Phase::Waiting => self.waited.set(self.waited.get().saturating_add(time)),
            Phase::Running => self.ran.set(Some(self.ran.get().unwrap_or_default().saturating_add(time))),
            Phase::Idle => {}
        }
    }

    /// Another caller holds the lock, so the job does nothing.
    pub(crate) fn is_held(&self) {
        self.is_held.set(true);
    }

    /// Writes the metrics, if the user asked for them. A failure changes nothing but is reported.
    pub(crate) fn write(&self, exit: Exit, report: Report) {
        let Some(path) = &self.file else { return };
        self.enter(Phase::Idle);
        let attempt = Attempt {
            outcome: self.outcome(exit),
            exit_code: exit.code(),
            waited: self.waited.get(),
            ran: self.ran.get().unwrap_or_default(),
            ended: SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default(),
        };
        match file::update(path, &self.lock, &attempt) {
            Ok(None) => {}
            Ok(Some(note)) => report.warn(&format!("metrics in {}: {note}", path.display())),
            Err(error) => report.warn(&format!("cannot write the metrics to {}: {error:#}", path.display())),
        }
    }

    fn outcome(&self, exit: Exit) -> Outcome {
        match exit {
            _ if self.is_held.get() => Outcome::Held,
            Exit::Lost => Outcome::Lost,
            Exit::Unavailable => Outcome::Unavailable,
            Exit::Signal(_) if self.ran.get().is_none() => Outcome::Interrupted,
            Exit::Done | Exit::Code(0) => Outcome::Done,
            Exit::Code(_) | Exit::Signal(_) | Exit::NotFound | Exit::NotExecutable => Outcome::Failed,
            _ => Outcome::Error,
        }
    }
}
