//! `locker status`: shows the holder of a lock, once or whenever that changes.

use std::time::{Duration, SystemTime};

use anyhow::Result;
use locker_host::{ErrorKind, Locker};
use tokio::time::sleep;

use crate::exit_code::Exit;
use crate::output::Report;
use crate::signals::Signals;

/// Shows the holder of a lock.
pub(crate) async fn status(locker: &Locker, name: &str, report: Report) -> Result<Exit> {
    let holder = locker.inspect(name).await?;
    report.status(name, holder.as_ref(), None)?;
    Ok(if holder.is_some() { Exit::Done } else { Exit::NotHeld })
}

/// Shows the holder of a lock, and each change until a signal comes. It polls, so it can miss a short hold.
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
