//! `locker exec`: runs a command while it holds a lock.
//!
//! - `supervisor`: runs a command under a lock, as `locker lead` does too. `child`: the command; `environment`: what it learns of the lock;
//!   `guardian`: the process that stops it when `locker` cannot; `terminal`: its foreground; `orphans`: what the command leaves behind in
//!   a container.

pub(crate) mod child;
mod environment;
pub(crate) mod guardian;
mod orphans;
pub(crate) mod supervisor;
mod terminal;

use std::time::Duration;

use anyhow::{Result, bail};
use locker_host::{Limits, Locker};

use self::supervisor::{After, Ended, Supervisor, Times};
use crate::acquire::{Acquired, acquire, options};
use crate::args::Exec;
use crate::exit_code::{CliError, Exit};
use crate::metrics_file::{Job, Phase};
use crate::output::Report;
use crate::signals::Signals;

pub(crate) async fn exec(locker: &Locker, exec: Exec, report: Report, job: &Job) -> Result<Exit> {
    let times = Times::new(exec.options.ttl, exec.on_lost, exec.kill_after)?;
    check_holds(exec.min_hold, exec.max_hold)?;
    let after = After::of(&exec);
    // From here on, so that no signal falls between the lock and the command.
    let mut signals = Signals::listen()?;
    let mut options = options(exec.options, report).expiry_margin(times.expiry_margin());
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
    let supervisor = Supervisor { command: &exec.command, on_lost: exec.on_lost, times, after, report, job };
    Ok(match supervisor.run(guard, &mut signals).await? {
        Ended::By(exit) => exit,
        Ended::Lost(_) => Exit::Lost,
    })
}

impl After {
    fn of(exec: &Exec) -> Self {
        match (exec.once_per, exec.min_hold) {
            (Some(period), _) => Self::OncePer(period),
            (None, Some(min_hold)) => Self::HoldFor(min_hold),
            (None, None) => Self::Release,
        }
    }
}

fn check_holds(min_hold: Option<Duration>, max_hold: Option<Duration>) -> Result<()> {
    let most = Limits::default().max_ttl;
    if min_hold.is_some_and(|min_hold| min_hold > most) {
        bail!(CliError(Exit::Refused, format!("--min-hold is more than a lock may last, which is {most:?}")));
    }
    if min_hold.zip(max_hold).is_some_and(|(min_hold, max_hold)| min_hold > max_hold) {
        bail!(CliError(Exit::Usage, "--min-hold is more than --max-hold".to_owned()));
    }
    Ok(())
}
