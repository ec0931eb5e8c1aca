//! `locker hold`: keeps a lock for the rest of a script.
//!
//! The process that the script waits for takes the lock and ends. Another one, the keeper, was forked from it and renews the lock until the
//! shell ends.
//!
//! - `process`: the two processes; `shell`: the process that is watched; `substitution`: one that ends too early;
//!   `streams`: standard output and standard error; `request`: an early release.

mod process;
mod request;
mod shell;
mod streams;
mod substitution;

use std::time::Duration;

use anyhow::Result;
use locker_host::{Error, Guard, Locker, LostReason, UnlockOutcome};
use nix::sys::signal::Signal;
use tokio::time::timeout;

pub(crate) use process::{Keeper, Process, fork};
pub(crate) use request::release;

use self::request::{Request, Requests};
use self::shell::Watch;
use self::streams::Streams;
use crate::acquire::{Acquired, acquire, options};
use crate::args::{Hold, Notice};
use crate::exit_code::Exit;
use crate::output::Report;
use crate::signals::Signals;

/// Takes the lock, lets the script go on, and keeps the lock until the shell ends.
pub(crate) async fn keep(locker: &Locker, hold: Hold, prefix: &str, keeper: Keeper, report: Report) -> Result<Exit> {
    let (shell, mut link) = keeper.watch()?;
    let mut signals = Signals::listen()?;
    let margin = expiry_margin(hold.options.ttl);
    let options = options(hold.options, report).expiry_margin(margin);
    let taken = locker.hold(&hold.name, options);
    let acquired = tokio::select! {
        biased;
        () = link.is_closed() => return Ok(ABANDONED),
        () = shell.ended() => return Ok(ABANDONED),
        acquired = acquire(locker, &hold.name, taken, &mut signals, report) => acquired?,
    };
    let guard = match acquired {
        Acquired::Granted(guard) => guard,
        Acquired::Held(holder) => {
            report.held(&hold.name, &holder)?;
            return Ok(Exit::Held);
        }
        Acquired::Interrupted(signal) => return Ok(Exit::Signal(signal)),
    };
    let begun = async {
        let requests = Requests::listen(shell.id(), prefix, &hold.name)?;
        report.granted(&hold.name, &guard.lease())?;
        let streams = Streams::leave()?;
        link.report_granted().await?;
        Ok((requests, streams))
    };
    let (requests, streams) = match begun.await {
        Ok(begun) => begun,
        Err(error) => {
            guard.release().await?;
            return Err(error);
        }
    };
    // From here on, signals are received and dropped: the shell decides when it ends.
    let kept = Kept { guard, shell, on_lost: hold.on_lost, report: report.in_background() };
    Ok(kept.until_the_end(requests, streams).await)
}

/// The caller has gone, so no process sees this.
const ABANDONED: Exit = Exit::Signal(Signal::SIGHUP as i32);

/// How long before its end the lock counts as lost: the shell has a fifth of the time to live to stop, as a command of `exec` has.
fn expiry_margin(ttl: Duration) -> Duration {
    (ttl / 5).min(Duration::from_secs(5)) + (ttl / 20).min(Duration::from_secs(1))
}

/// The lock while the script works.
struct Kept {
    guard: Guard,
    shell: Watch,
    on_lost: Notice,
    report: Report,
}

impl Kept {
    async fn until_the_end(self, requests: Requests, streams: Streams) -> Exit {
        let ended = tokio::select! {
            biased;
            () = self.shell.ended() => None,
            loss = self.guard.lost() => Some(Err(loss)),
            request = requests.next() => Some(Ok(request)),
        };
        // The script may hold the lock again as soon as it hears of the end.
        drop(requests);
        match ended {
            None => {
                // If this fails, closing the locker tries again, and then the lock expires.
                _ = self.guard.release().await;
                Exit::Done
            }
            Some(Ok(request)) => self.release(request).await,
            Some(Err(loss)) => {
                self.tell(&loss, streams);
                // Others need not wait for what is left of it.
                _ = timeout(Duration::from_secs(1), self.guard.release()).await;
                Exit::Lost
            }
        }
    }

    async fn release(self, request: Request) -> Exit {
        let outcome: Result<UnlockOutcome, Error> = self.guard.release().await;
        request.answer(&outcome).await;
        Exit::Done
    }

    /// Tells the shell that the lock is lost. The signal comes first.
    fn tell(&self, loss: &LostReason, streams: Streams) {
        let (name, id) = (self.guard.name(), self.shell.id());
        // Now: the shell may end at the signal.
        streams.find_stderr_of(&self.shell);
        let done = match self.on_lost {
            Notice::Term if self.shell.signal(Signal::SIGTERM).is_ok() => format!("sent SIGTERM to process {id}"),
            Notice::Term => format!("process {id} cannot be sent SIGTERM"),
            Notice::Ignore => format!("process {id} goes on without it"),
        };
        self.report.warn(&format!("lock {name:?}: {loss}: {done}"));
    }
}
