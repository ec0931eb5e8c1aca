//! Leading: holding a lock again and again until some work is done.

use std::time::Duration;

use tokio::time::sleep;

use super::{Guard, WithOutcome};
use crate::component::operations::Operations;
use crate::{Error, Lease, LockOptions, LockOutcome};

/// The shortest pause after a lost term; the longest is twice as long. A caller that loses each term at once does not keep the store busy.
const PAUSE: Duration = Duration::from_millis(250);

/// Waits for the lock without an end, through outages. The guard counts as a leader's. Each term has a token of its own.
pub(crate) async fn campaign(operations: &Operations, name: &str, options: LockOptions) -> Result<Guard, Error> {
    let mut options = LockOptions { wait: Duration::MAX, token: None, ..options };
    if options.on_outage.is_none() {
        options = options.through_outages(|_| ());
    }
    loop {
        // No store waits for longer than a year.
        if let LockOutcome::Granted(guard) = Guard::take(operations, name, options.clone()).await? {
            guard.begin_term();
            return Ok(guard);
        }
    }
}

/// Campaigns and works, until the work is done.
pub(crate) async fn lead<T, W: Future<Output = T>>(
    operations: &Operations,
    name: &str,
    options: LockOptions,
    mut work: impl FnMut(Lease) -> W,
) -> Result<T, Error> {
    loop {
        let guard = campaign(operations, name, options.clone()).await?;
        if let WithOutcome::Done(done) | WithOutcome::Lost { done: Some(done), .. } = guard.run(&mut work).await {
            return Ok(done);
        }
        sleep(operations.random().up_to_twice(PAUSE)).await;
    }
}
