//! `locker unlock`: releases a lock with its token, or takes locks from their holders.

use std::io::IsTerminal;

use anyhow::{Result, bail};
use locker_host::{Holder, Locker, UnlockOutcome};

use crate::args::Unlock;
use crate::exit_code::{CliError, Exit};
use crate::output::{Report, describe, quoted};
use crate::token::read_token;

pub(crate) async fn unlock(locker: &Locker, unlock: Unlock, report: Report) -> Result<Exit> {
    let Unlock { name, token, force, fence, owner, yes, .. } = unlock;
    let outcome = match (name, owner, token) {
        (Some(name), _, _) if force => {
            let outcome = locker.revoke(&name, fence).await?;
            report.revoked(&name, outcome)?;
            outcome
        }
        (Some(name), _, Some(token)) => {
            let outcome = locker.unlock(&name, read_token(token)?).await?;
            report.unlocked(&name, outcome)?;
            outcome
        }
        (None, Some(owner), _) => return unlock_all(locker, &owner, yes, report).await,
        _ => bail!(CliError(Exit::Usage, "name a lock and its token, or --force, or --owner LABEL --all".to_owned())),
    };
    Ok(if outcome == UnlockOutcome::Released { Exit::Done } else { Exit::NotHeld })
}

/// Takes all locks from the holders with a label. Each is taken from the holder that was listed, and from no later one.
async fn unlock_all(locker: &Locker, owner: &str, yes: bool, report: Report) -> Result<Exit> {
    let is_owned = |holder: &Holder| holder.owner.as_deref() == Some(owner);
    let locks: Vec<_> = locker.list().await?.into_iter().filter(|(_, holder)| is_owned(holder)).collect();
    if locks.is_empty() {
        report.info(&format!("no lock is held by {}", quoted(owner)));
        return Ok(Exit::NotHeld);
    }
    if !yes && !confirmed(owner, &locks)? {
        return Ok(Exit::NotHeld);
    }
    for (name, holder) in locks {
        report.revoked(&name, locker.revoke(&name, Some(holder.fence)).await?)?;
    }
    Ok(Exit::Done)
}

fn confirmed(owner: &str, locks: &[(String, Holder)]) -> Result<bool> {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        bail!(CliError(
            Exit::Usage,
            format!(
                "{} locks are held by {}; without a terminal, --yes takes them from their holders",
                locks.len(),
                quoted(owner)
            )
        ));
    }
    for (name, holder) in locks {
        eprintln!("{} {}", quoted(name), describe(holder));
    }
    let question = format!("Take these {} locks from their holders?", locks.len());
    Ok(dialoguer::Confirm::new().with_prompt(question).default(false).interact()?)
}
