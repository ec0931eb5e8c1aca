//! `locker exec`: runs a command while it holds a lock.
//!
//! - `child`: the command; `guardian`: the process that stops it when `locker` cannot; `terminal`: its foreground;
//!   `orphans`: what the command leaves behind in a container.

pub(crate) mod child;
pub(crate) mod guardian;
mod orphans;
mod terminal;

use std::ffi::OsString;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use locker_host::{ExtendOutcome, Guard, Limits, LockOptions, Locker, LostReason, UnlockOutcome};
use tempfile::NamedTempFile;
use tokio::time::{Instant, sleep_until, timeout};

use self::child::{Child, shares_our_group};
use self::guardian::Guardian;
use crate::acquire::{Acquired, acquire};
use crate::args::{Exec, OnLost};
use crate::exit_code::{CliError, Exit};
use crate::metrics_file::{Job, Phase};
use crate::output::Report;
use crate::signals::{Signals, end_begins, unless_hurried};

pub(crate) async fn exec(locker: &Locker, exec: Exec, report: Report, job: &Job) -> Result<Exit> {
    let times = Times::of(&exec)?;
    // From here on, so that no signal falls between the lock and the command.
    let mut signals = Signals::listen()?;
    let mut options = LockOptions::from(exec.options).expiry_margin(times.expiry_margin());
    if let Some(max_hold) = exec.max_hold {
        options = options.max_hold(max_hold);
    }
    let taken = locker.hold(&exec.name, options);
    let acquired = acquire(locker, &exec.name, taken, &mut signals, report).await;
    job.enter(Phase::Idle);
    let guard = match acquired? {
        Acquired::Granted(guard) => guard,
        Acquired::Held(holder) => {
            job.is_held();
            report.held(&exec.name, &holder)?;
            return Ok(Exit::Code(exec.conflict_exit_code));
        }
        Acquired::Interrupted(signal) => return Ok(Exit::Signal(signal)),
    };
    let started = Instant::now();
    let run = Run { guard: &guard, command: &exec.command, on_lost: exec.on_lost, times, report, job };
    match run.supervise(&mut signals).await? {
        Ended::Lost => {
            // Others need not wait for what is left of it. If this fails, it frees itself soon.
            _ = unless_hurried(timeout(Duration::from_secs(1), guard.release())).await;
            Ok(Exit::Lost)
        }
        Ended::SpawnFailed(exit) => release(guard, Rest::Free, exit, report).await,
        Ended::By(exit) => {
            if matches!(exit, Exit::Signal(_)) {
                // The terminal may have sent it to the command and to us.
                end_begins();
            }
            let rest = match (exec.once_per, exec.min_hold.unwrap_or_default().saturating_sub(started.elapsed())) {
                (Some(period), _) if exit == Exit::Code(0) => Rest::Done(period),
                (Some(_), _) | (None, Duration::ZERO) => Rest::Free,
                (None, rest) => Rest::Held(rest),
            };
            release(guard, rest, exit, report).await
        }
    }
}

/// What becomes of the lock when the command has ended.
enum Rest {
    /// It is released.
    Free,
    /// It stays held for this time.
    Held(Duration),
    /// It is taken until so long after it was acquired.
    Done(Duration),
}

async fn release(guard: Guard, rest: Rest, exit: Exit, report: Report) -> Result<Exit> {
    let name = guard.name().to_owned();
    let (is_period, is_released) = (matches!(rest, Rest::Done(_)), |outcome| outcome == UnlockOutcome::Released);
    let ours = match rest {
        Rest::Free => unless_hurried(guard.release()).await.map(is_released),
        Rest::Held(rest) => {
            let extended = unless_hurried(guard.release_after(rest)).await;
            extended.map(|extended| matches!(extended, ExtendOutcome::Extended(_)))
        }
        Rest::Done(period) => unless_hurried(guard.complete(period)).await.map(is_released),
    };
    match ours {
        Ok(true) => Ok(exit),
        Ok(false) => {
            report.warn(&format!("lock {name:?}: it was lost while the command ran: another may have run beside it"));
            Ok(Exit::Lost)
        }
        Err(error) if is_period => {
            report.warn(&format!(
                "{error}; the command is done, but this is not recorded: another may run it within the period"
            ));
            Ok(Exit::Unavailable)
        }
        Err(error) => {
            report.warn(&format!("{error}; the command is done, and the lock frees itself when its time is up"));
            Ok(exit)
        }
    }
}

enum Ended {
    By(Exit),
    /// It could not be started.
    SpawnFailed(Exit),
    /// The lock was lost first.
    Lost,
}

/// How long the command has to stop, and how long before the lock's end it must have done so.
#[derive(Clone, Copy)]
struct Times {
    kill_after: Duration,
    margin: Duration,
}

impl Times {
    fn of(exec: &Exec) -> Result<Self> {
        let ttl = exec.options.ttl;
        let kill_after = match (exec.on_lost, exec.kill_after) {
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
        let most = Limits::default().max_ttl;
        if exec.min_hold.is_some_and(|min_hold| min_hold > most) {
            bail!(CliError(Exit::Refused, format!("--min-hold is more than a lock may last, which is {most:?}")));
        }
        if exec.min_hold.zip(exec.max_hold).is_some_and(|(min_hold, max_hold)| min_hold > max_hold) {
            bail!(CliError(Exit::Usage, "--min-hold is more than --max-hold".to_owned()));
        }
        Ok(Self { kill_after, margin: (ttl / 20).min(Duration::from_secs(1)) })
    }

    /// How long before its end the lock counts as lost.
    fn expiry_margin(self) -> Duration {
        self.kill_after + self.margin
    }
}

/// The command under the lock.
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
                return Ok(Ended::SpawnFailed(exit));
            }
        };
        self.job.enter(Phase::Running);
        let ended = self.wait(&mut child, guardian.as_ref(), signals).await;
        self.job.enter(Phase::Idle);
        let ended = ended?;
        if matches!(ended, Ended::Lost) && self.on_lost != OnLost::Ignore {
            child.kill_rest();
        }
        guardian.iter().for_each(Guardian::command_is_gone);
        Ok(ended)
    }

    /// Waits for the end of the command, and passes on signals, losses and renewals meanwhile.
    async fn wait(&self, child: &mut Child, guardian: Option<&Guardian>, signals: &mut Signals) -> Result<Ended> {
        let guard = self.guard;
        let (mut lost, mut kill) = (false, None);
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
                signal = signals.next() => child.on(signal),
                _ = guard.renewed(&lease), if !lost => self.guard_lease(guardian),
            }
        };
        Ok(if lost { Ended::Lost } else { Ended::By(exit) })
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
        Ended::Lost
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

/// What the command finds in its environment.
fn environment(guard: &Guard, token: Option<&NamedTempFile>) -> Vec<(&'static str, OsString)> {
    let lease = guard.lease();
    let mut environment = vec![
        ("LOCKER_NAME", guard.name().into()),
        ("LOCKER_FENCE", lease.fence.to_string().into()),
        ("LOCKER_TTL_MS", lease.ttl.as_millis().to_string().into()),
    ];
    environment.extend(token.map(|token| ("LOCKER_TOKEN_FILE", token.path().into())));
    environment
}

/// The token in a file that only this user can read, until it is dropped: environments show in lists of processes.
fn token_file(guard: &Guard) -> Result<NamedTempFile> {
    let folder = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|folder| folder.is_dir());
    let folder = folder.unwrap_or_else(std::env::temp_dir);
    let mut file = tempfile::Builder::new().prefix("locker-").tempfile_in(&folder)?;
    write!(file, "{}", guard.lease().token.as_str())?;
    Ok(file)
}
