//! Taking a lock, unless a signal ends it.

use std::time::Duration;

use anyhow::Result;
use indicatif::ProgressBar;
use locker_host::{Error, Holder, LockOptions, LockOutcome, Locker};
use nix::sys::signal::Signal;
use tokio::time::{Instant, sleep};

use crate::exec::child::Child;
use crate::output::{Report, describe, quoted};
use crate::signals::Signals;

pub(crate) enum Acquired<T> {
    Granted(T),
    Held(Holder),
    Interrupted(i32),
}

/// How to take a lock, as the command line says. A wait goes on through outages, which are reported.
pub(crate) fn options(options: impl Into<LockOptions>, report: Report) -> LockOptions {
    options
        .into()
        .through_outages(move |error| report.warn(&format!("{error}; still waiting for the cache and the lock")))
}

/// Waits for a lock to be `taken`, and shows its holder on a terminal meanwhile.
pub(crate) async fn acquire<T>(
    locker: &Locker,
    name: &str,
    taken: impl Future<Output = Result<LockOutcome<T>, Error>>,
    signals: &mut Signals,
    report: Report,
) -> Result<Acquired<T>> {
    tokio::select! {
        biased;
        outcome = taken => Ok(match outcome? {
            LockOutcome::Granted(granted) => Acquired::Granted(granted),
            LockOutcome::Held(holder) => Acquired::Held(holder),
        }),
        // Dropping the call withdraws it; closing the locker waits for that.
        signal = interruption(signals) => Ok(Acquired::Interrupted(signal as i32)),
        never = tell(locker, name), if report.is_watched() => match never {},
    }
}

/// The next signal that ends a wait.
async fn interruption(signals: &mut Signals) -> Signal {
    loop {
        let signal = signals.next().await;
        if !Child::on_none(signal) {
            return signal;
        }
    }
}

/// Shows the holder of a lock, and the time left.
async fn tell(locker: &Locker, name: &str) -> std::convert::Infallible {
    const FRAME: Duration = Duration::from_millis(100);
    const LOOK: Duration = Duration::from_secs(1);
    // Shorter waits show nothing.
    sleep(2 * FRAME).await;
    let spinner = Spinner::new(String::new());
    let mut looked: Option<Instant> = None;
    loop {
        if looked.is_none_or(|looked| looked.elapsed() >= LOOK) {
            looked = Some(Instant::now());
            // The call that waits reports errors.
            if let Ok(Some(holder)) = locker.inspect(name).await {
                let state = describe(&holder);
                let state = state.strip_prefix("is ").unwrap_or(&state);
                spinner.0.set_message(format!("waiting for {}, {state}", quoted(name)));
            }
        }
        spinner.0.tick();
        sleep(FRAME).await;
    }
}

/// Shows that work goes on, and leaves the terminal as it was.
pub(crate) struct Spinner(pub(crate) ProgressBar);

impl Spinner {
    pub(crate) fn new(message: String) -> Self {
        Self(ProgressBar::new_spinner().with_message(message))
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
