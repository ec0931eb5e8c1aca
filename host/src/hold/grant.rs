//! Taking a lock with enough time left on its lease.

use std::time::{Duration, Instant};

use tokio::time::timeout_at;

use super::outages::Outages;
use crate::component::operations::{Attempt, Grant, Operations};
use crate::error::{GRANTED_TO_TOKEN_TOO_LATE, GRANTED_TOO_LATE};
use crate::time::{after, elapsed, now};
use crate::{Error, ErrorKind, LockOptions, LockOutcome, telemetry};

/// Takes the lock with at least the time left that is `required` of a time to live. A grant with less is released, and
/// the call waits again if it still has time. A caller that chose its token, and does not wait, can call again instead.
pub(crate) async fn grant(
    operations: &Operations,
    name: &str,
    options: LockOptions,
    required: impl Fn(Duration) -> Duration,
) -> Result<LockOutcome<Grant>, Error> {
    let started = now();
    let answer = grant_in_time(operations, name, options, started, required).await;
    telemetry::attempted();
    match &answer {
        Ok(LockOutcome::Granted(grant)) => telemetry::granted(name, &grant.lease, elapsed(started)),
        Ok(LockOutcome::Held(holder)) => telemetry::held(name, holder, elapsed(started)),
        Err(_) => {}
    }
    answer
}

async fn grant_in_time(
    operations: &Operations,
    name: &str,
    mut options: LockOptions,
    started: Instant,
    required: impl Fn(Duration) -> Duration,
) -> Result<LockOutcome<Grant>, Error> {
    let (wait, mut late) = (options.wait, None);
    let calls_again = options.token.is_some() && wait.is_zero();
    let outages = Outages::of(name, &mut options);
    let left = || wait.saturating_sub(elapsed(started));
    loop {
        let was_away = outages.as_ref().is_some_and(|outages| outages.is_away());
        let attempt = match &outages {
            // Boxed to keep the common future small.
            Some(outages) => Box::pin(outages.attempt(operations, options.clone(), left())).await,
            None => operations.attempt(name, options.clone()).await,
        };
        let fence = match (attempt, &outages) {
            (Ok(Attempt::Granted(grant)), _) if grant.term.has_left(required(grant.term.ttl)) => {
                return Ok(LockOutcome::Granted(grant));
            }
            (Ok(Attempt::Granted(grant)), _) if calls_again => grant.lease.fence,
            (Ok(Attempt::Granted(grant)), _) => release_late(operations, name, &grant).await,
            // What was granted too late is about to be withdrawn: no other caller holds the lock.
            (Ok(Attempt::Held(holder)), _) if late == Some(holder.fence) => holder.fence,
            // The outage is over, and the attempt did not wait.
            (Ok(Attempt::Held(_)), _) if was_away && !left().is_zero() => continue,
            (Ok(Attempt::Held(holder)), _) => return Ok(LockOutcome::Held(holder)),
            (Ok(Attempt::Late(fence)), _) => fence,
            (Err(error), Some(outages)) => {
                Box::pin(outages.outlast(operations, error, was_away, left())).await?;
                continue;
            }
            (Err(error), None) => return Err(error),
        };
        late = Some(fence);
        options.wait = left();
        if options.wait.is_zero() {
            let limit = after(after(started, wait), operations.limit());
            let too_late = if calls_again { GRANTED_TO_TOKEN_TOO_LATE } else { GRANTED_TOO_LATE };
            return holder_instead(operations, name, (fence, too_late), limit).await;
        }
    }
}

/// Releases what was granted with too little time left, and answers its fence. The release goes on in the background if
/// the caller goes away or the lease ends first.
async fn release_late(operations: &Operations, name: &str, Grant { lease, term }: &Grant) -> u64 {
    let orphan = operations.orphan(name, &lease.token, term.ttl);
    if let Ok(Ok(_)) = timeout_at(term.deadline.into(), operations.unlock(name, &lease.token)).await {
        orphan.disarm();
    }
    lease.fence
}

/// The answer of a call that has no time to wait again: another caller holds the lock, or it was granted too late.
async fn holder_instead(
    operations: &Operations,
    name: &str,
    (late, too_late): (u64, &'static str),
    limit: Instant,
) -> Result<LockOutcome<Grant>, Error> {
    match timeout_at(limit.into(), operations.inspect(name)).await {
        Ok(Ok(Some(holder))) if holder.fence != late => Ok(LockOutcome::Held(holder)),
        _ => {
            let error = Error::new(ErrorKind::Expired, too_late).about(name);
            telemetry::failed("lock", &error);
            Err(error)
        }
    }
}
