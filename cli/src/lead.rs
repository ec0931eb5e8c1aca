//! `locker lead`: runs a command while it leads, again and again until the command ends.

use std::time::Duration;

use anyhow::Result;
use locker_host::{LockOptions, LockOutcome, Locker};
use tokio::time::sleep;

use crate::acquire::{Acquired, acquire, options};
use crate::args::Lead;
use crate::exec::supervisor::{After, Ended, Supervisor, Times};
use crate::exit_code::Exit;
use crate::metrics_file::{Job, Phase};
use crate::output::{Report, quoted};
use crate::signals::Signals;

/// The pause after a lost term. A leader that loses each term at once does not keep the store busy.
const PAUSE: Duration = Duration::from_millis(300);

pub(crate) async fn lead(locker: &Locker, lead: Lead, report: Report, job: &Job) -> Result<Exit> {
    let times = Times::new(lead.ttl, lead.on_lost, lead.kill_after)?;
    let mut signals = Signals::listen()?;
    let mut lock_options = LockOptions::from(lead.ttl).expiry_margin(times.expiry_margin());
    if let Some(owner) = &lead.owner {
        lock_options = lock_options.owner(owner);
    }
    let lock_options = options(lock_options, report);
    let supervisor =
        Supervisor { command: &lead.command, on_lost: lead.on_lost, times, after: After::Release, report, job };
    let (name, mut pause) = (quoted(&lead.name), Duration::ZERO);
    loop {
        let campaign = async {
            sleep(pause).await;
            locker.campaign(&lead.name, lock_options.clone()).await.map(LockOutcome::Granted)
        };
        job.enter(Phase::Waiting);
        let acquired = acquire(locker, &lead.name, campaign, &mut signals, report).await;
        job.enter(Phase::Idle);
        let guard = match acquired? {
            Acquired::Granted(guard) => guard,
            // A campaign ends with a grant only.
            Acquired::Held(_) => continue,
            Acquired::Interrupted(signal) => return Ok(Exit::Signal(signal)),
        };
        report.info(&format!("leading {name} with fence {}", guard.fence()));
        match supervisor.run(guard, &mut signals).await? {
            Ended::By(exit) => return Ok(exit),
            Ended::Lost(Some(signal)) => return Ok(Exit::Signal(signal as i32)),
            Ended::Lost(None) => {}
        }
        report.info(&format!("leading {name} no longer: campaigning again"));
        pause = PAUSE;
    }
}
