//! Taking a lock, unless a signal ends it.

use anyhow::Result;
use locker_host::{Holder, Lease, Lock, Locker};

use crate::args::Options;
use crate::signals::Signals;

pub(crate) enum Acquired {
    Lease(Lease),
    Held(Holder),
    Interrupted(i32),
}

pub(crate) async fn acquire(locker: &Locker, name: &str, options: Options, signals: &mut Signals) -> Result<Acquired> {
    tokio::select! {
        outcome = locker.lock(name, options) => Ok(match outcome? {
            Lock::Granted(lease) => Acquired::Lease(lease),
            Lock::Held(holder) => Acquired::Held(holder),
        }),
        // Dropping the call gives back what it may have taken; closing the locker waits for that.
        signal = signals.next() => Ok(Acquired::Interrupted(signal as i32)),
    }
}
