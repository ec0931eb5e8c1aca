//! `locker status`: tells who holds a lock, once or whenever that changes.

use std::time::{Duration, SystemTime};

use anyhow::Result;
use locker_host::{ErrorKind, Locker};
use tokio::time::sleep;

use crate::exit_code::Exit;
use crate::output::Report;
use crate::signals::Signals;

/// Tells who holds a lock.
pub(crate) async fn status(locker: &Locker, name: &str, report: Report) -> Result<Exit> {
    let holder = locker.inspect(name).await?;
    report.status(name, holder.as_ref(), None)?;
    Ok(if holder.is_some() { Exit::Done } else { Exit::NotHeld })
}

/// Tells who holds a lock, and again whenever that changes, until a signal comes. Who holds it for less than a moment may
/// be missed: nobody tells when a lock is taken.
pub(crate) async fn watch(locker: &Locker, name: &str, report: Report) -> Result<Exit> {
    const MOMENT: Duration = Duration::from_millis(250);
    let mut signals = Signals::listen()?;
    let mut told = None;
    loop {
        let answer = tokio::select! {
            signal = signals.next() => return Ok(Exit::Signal(signal as i32)),
            holder = locker.inspect(name) => holder,
        };
        match answer {
            Ok(holder) => {
                let who = holder.as_ref().map(|holder| (holder.fence, holder.owner.clone()));
                if told.as_ref() != Some(&Ok(who.clone())) {
                    report.status(name, holder.as_ref(), Some(SystemTime::now()))?;
                    told = Some(Ok(who));
                }
            }
            // A cache that was there comes back.
            Err(error) if error.kind() == ErrorKind::Unavailable && told.is_some() => {
                if told != Some(Err(())) {
                    report.warn(&error.to_string());
                    told = Some(Err(()));
                }
            }
            Err(error) => return Err(error.into()),
        }
        tokio::select! {
            signal = signals.next() => return Ok(Exit::Signal(signal as i32)),
            () = sleep(MOMENT) => {}
        }
    }
}
