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

/// Shows the holder of a lock, and each change until a signal comes.
pub(crate) async fn watch(locker: &Locker, name: &str, report: Report) -> Result<Exit> {
    const RETRY_INTERVAL: Duration = Duration::from_secs(1);
    let (mut signals, mut watch, mut seen, mut away) = (Signals::listen()?, locker.watch(name), false, false);
    loop {
        let answer = tokio::select! {
            signal = signals.next() => return Ok(Exit::Signal(signal as i32)),
            holder = watch.changed() => holder,
        };
        match answer {
            Ok(holder) => {
                report.status(name, holder.as_ref(), Some(SystemTime::now()))?;
                (seen, away) = (true, false);
                continue;
            }
            // A cache that was there comes back.
            Err(error) if error.kind() == ErrorKind::Unavailable && seen => {
                if !away {
                    report.warn(&error.to_string());
                    away = true;
                }
            }
            Err(error) => return Err(error.into()),
        }
        tokio::select! {
            signal = signals.next() => return Ok(Exit::Signal(signal as i32)),
            () = sleep(RETRY_INTERVAL) => {}
        }
    }
}
