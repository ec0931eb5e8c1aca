//! Runs a command under a lock, and stops it if the lock is lost.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use locker_host::{ExtendOutcome, Guard, LostReason, UnlockOutcome};
use nix::sys::signal::Signal;
use tempfile::NamedTempFile;
use tokio::time::{Instant, sleep_until, timeout};

use super::child::{Child, shares_our_group};
use super::environment::{environment, token_file};
use super::guardian::Guardian;
use crate::args::OnLost;
use crate::exit_code::{CliError, Exit};
use crate::metrics_file::{Job, Phase};
use crate::output::Report;
use crate::signals::{Signals, end_begins, is_deadly, unless_hurried};

/// How a command ended, and its lock.
pub(crate) enum Ended {
    /// The command ended, or could not be started. The lock is released.
    By(Exit),
    /// The lock was lost first; and the signal that asked for the end, if one did.
    Lost(Option<Signal>),
}

/// How long the command has to stop, and how long before the lock's end it must have done so.
#[derive(Clone, Copy)]
pub(crate) struct Times {
    kill_after: Duration,
    margin: Duration,
}

impl Times {
    pub(crate) fn new(ttl: Duration, on_lost: OnLost, kill_after: Option<Duration>) -> Result<Self> {
        let kill_after = match (on_lost, kill_after) {
            (OnLost::Kill | OnLost::Ignore, _) => Duration::ZERO,
            (OnLost::Term, chosen) => chosen.unwrap_or((ttl / 5).min(Duration::from_secs(5))),
        };
        if kill_after > ttl / 2 {
            bail!(CliError(
                Exit::Usage,
                format!(
                    "--kill-after {kill_after:?} is more than half of --ttl {ttl:?}: the command must be gone before the lock is"
                )
            ));
        }
        Ok(Self { kill_after, margin: (ttl / 20).min(Duration::from_secs(1)) })
    }

    /// How long before its end the lock counts as lost.
    pub(crate) fn expiry_margin(self) -> Duration {
        self.kill_after + self.margin
    }
}

/// What becomes of the lock when the command has ended.
#[derive(Clone, Copy)]
pub(crate) enum After {
    /// It is released.
    Release,
    /// It stays held until so long after the start of the command.
    HoldFor(Duration),
    /// After a success it stays taken until so long after it was acquired.
    OncePer(Duration),
}

/// Runs a command under locks that are held, one after the other.
pub(crate) struct Supervisor<'a> {
    pub(crate) command: &'a [OsString],
    pub(crate) on_lost: OnLost,
    pub(crate) times: Times,
    pub(crate) after: After,
    pub(crate) report: Report,
    pub(crate) job: &'a Job,
}

impl Supervisor<'_> {
    /// Runs the command under a lock, and releases the lock.
    pub(crate) async fn run(&self, guard: Guard, signals: &mut Signals) -> Result<Ended> {
        let started = Instant::now();
        let Self { command, on_lost, times, after, report, job } = *self;
        let run = Run { guard: &guard, command, on_lost, times, report, job };
        let exit = match run.supervise(signals).await? {
            Ended::By(exit) => exit,
            lost @ Ended::Lost(_) => {
                // Others need not wait for what is left of it. If this fails, it frees itself soon.
                _ = unless_hurried(timeout(Duration::from_secs(1), guard.release())).await;
                return Ok(lost);
            }
        };
        if matches!(exit, Exit::Signal(_)) {
            // The terminal may have sent it to the command and to us.
            end_begins();
        }
        let after = match after {
            // A command that could not be started needs no minimum.
            After::HoldFor(_) if matches!(exit, Exit::NotFound | Exit::NotExecutable) => After::Release,
            After::HoldFor(min_hold) if min_hold <= started.elapsed() => After::Release,
            After::HoldFor(min_hold) => After::HoldFor(min_hold.saturating_sub(started.elapsed())),
            After::OncePer(_) if exit != Exit::Code(0) => After::Release,
            after => after,
        };
        Ok(Ended::By(release(guard, after, exit, report).await))
    }
}

/// Releases the lock, or keeps it for the rest of its time.
async fn release(guard: Guard, after: After, exit: Exit, report: Report) -> Exit {
    let name = guard.name().to_owned();
    let is_released = |outcome| outcome == UnlockOutcome::Released;
    let ours = match after {
        After::Release => unless_hurried(guard.release()).await.map(is_released),
        After::HoldFor(rest) => {
            let extended = unless_hurried(guard.release_after(rest)).await;
            extended.map(|extended| matches!(extended, ExtendOutcome::Extended(_)))
        }
        After::OncePer(period) => unless_hurried(guard.complete(period)).await.map(is_released),
    };
    match ours {
        Ok(true) => exit,
        Ok(false) => {
            report.warn(&format!("lock {name:?}: it was lost while the command ran: another may have run beside it"));
            Exit::Lost
        }
        Err(error) if matches!(after, After::OncePer(_)) => {
            report.warn(&format!(
                "{error}; the command is done, but this is not recorded: another may run it within the period"
            ));
            Exit::Unavailable
        }
        Err(error) => {
            report.warn(&format!("{error}; the command is done, and the lock frees itself when its time is up"));
            exit
        }
    }
}

/// The command under one lock.
struct Run<'a> {
    guard: &'a Guard,
    command: &'a [OsString],
    on_lost: OnLost,
    times: Times,
    report: Report,
    job: &'a Job,
}

impl Run<'_> {
    async fn supervise(&self, signals: &mut Signals) -> Result<Ended> {
        let Self { guard, command, times, .. } = *self;
        let token = token_file(guard).inspect_err(|error| {
            self.report.warn(&format!("the command cannot be given the token: {error:#}"));
        });
        let guardian = match self.on_lost {
            OnLost::Ignore => None,
            _ => {
                let file = token.as_ref().ok().map(NamedTempFile::path);
                Some(Guardian::start(shares_our_group(), times.kill_after, file).context("cannot start a process")?)
            }
        };
        let environment = environment(guard, token.as_ref().ok());
        Child::listen(signals)?;
        self.guard_lease(guardian.as_ref());
        if !guard.is_held() {
            return Ok(self.not_begun(&guard.lost().await));
        }
        let mut child = match Child::start(command, environment, guardian.as_ref(), guard.lost_at()) {
            Ok(child) => child,
            Err(error) if Child::is_too_late(&error) => return Ok(self.not_begun(&guard.lost().await)),
            Err(error) => {
                self.report.warn(&format!("cannot run {}: {error}", command[0].display()));
                let exit = if error.kind() == ErrorKind::NotFound { Exit::NotFound } else { Exit::NotExecutable };
                return Ok(Ended::By(exit));
            }
        };
        self.job.enter(Phase::Running);
        let ended = self.wait(&mut child, guardian.as_ref(), signals).await;
        self.job.enter(Phase::Idle);
        let ended = ended?;
        if matches!(ended, Ended::Lost(_)) && self.on_lost != OnLost::Ignore {
            child.kill_rest();
        }
        guardian.iter().for_each(Guardian::command_is_gone);
        Ok(ended)
    }

    /// Waits for the end of the command, and passes on signals, losses and renewals meanwhile.
    async fn wait(&self, child: &mut Child, guardian: Option<&Guardian>, signals: &mut Signals) -> Result<Ended> {
        let guard = self.guard;
        let (mut lost, mut kill, mut asked) = (false, None, None);
        let exit = loop {
            let lease = guard.lease();
            let continue_at = child.continue_at().map(Instant::from_std);
            tokio::select! {
                // A loss comes first: the guardian may have ended the command because of it.
                biased;
                loss = guard.lost(), if !lost => {
                    lost = true;
                    kill = self.lost(&loss, child, guardian);
                }
                () = sleep_until(kill.unwrap_or_else(Instant::now)), if kill.is_some() => {
                    child.kill();
                    kill = None;
                }
                () = sleep_until(continue_at.unwrap_or_else(Instant::now)), if continue_at.is_some() => child.continue_again(),
                exit = child.wait() => break exit?,
                signal = signals.next() => {
                    // Many services reload when they get a SIGHUP.
                    if is_deadly(signal) && (lost || signal != Signal::SIGHUP) {
                        asked.get_or_insert(signal);
                    }
                    child.on(signal);
                }
                _ = guard.renewed(&lease), if !lost => self.guard_lease(guardian),
            }
        };
        Ok(if lost { Ended::Lost(asked) } else { Ended::By(exit) })
    }

    /// Sets the deadlines of the guardian. They are a little later than those of `locker`, and still in time.
    fn guard_lease(&self, guardian: Option<&Guardian>) {
        let kill = self.before_deadline(self.times.margin / 2);
        let stop = self.before_deadline(self.times.margin / 2 + self.times.kill_after);
        let stop = (self.on_lost == OnLost::Term).then_some(stop);
        guardian.into_iter().for_each(|guardian| guardian.set_deadlines(stop, kill));
    }

    fn before_deadline(&self, time: Duration) -> std::time::Instant {
        let deadline = self.guard.lease().deadline;
        deadline.checked_sub(time).unwrap_or(deadline)
    }

    /// The lock was lost before the command was started.
    fn not_begun(&self, loss: &LostReason) -> Ended {
        self.report.warn(&format!("lock {:?}: {loss}: the command was not started", self.guard.name()));
        Ended::Lost(None)
    }

    /// Does what is to be done when the lock is lost, and answers when the command is to be killed. Nothing may come before the
    /// command is stopped, and the lease ends when it does, however late the loss is noticed.
    fn lost(&self, loss: &LostReason, child: &Child, guardian: Option<&Guardian>) -> Option<Instant> {
        let (now, last) = (Instant::now(), Instant::from_std(self.before_deadline(self.times.margin)));
        let kill = last.min(now + self.times.kill_after);
        match self.on_lost {
            OnLost::Ignore => {}
            _ if kill <= now => child.kill(),
            OnLost::Term | OnLost::Kill => child.stop(),
        }
        // The guardian is a little slower.
        guardian
            .into_iter()
            .for_each(|guardian| guardian.set_deadlines(None, (kill + self.times.margin / 2).into_std()));
        let doing = match self.on_lost {
            OnLost::Term => "stopping the command",
            OnLost::Kill => "killing the command",
            OnLost::Ignore => "the command goes on without it",
        };
        self.report.warn(&format!("lock {:?}: {loss}: {doing}", self.guard.name()));
        (self.on_lost != OnLost::Ignore).then_some(kill)
    }
}
