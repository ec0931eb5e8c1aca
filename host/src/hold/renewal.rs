//! Renewing a lock that is held, and noticing that it is lost.

use std::sync::Arc;
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::time::{sleep_until, timeout_at};

use super::lost_reason::LostReason;
use super::revocation::Revocations;
use super::state::HoldState;
use crate::component::operations::Operations;
use crate::time::{after, now};
use crate::{Error, ErrorKind, ExtendOutcome};

pub(crate) struct Renewal {
    operations: Operations,
    state: Arc<HoldState>,
}

impl Renewal {
    pub(crate) fn new(operations: Operations, state: Arc<HoldState>) -> Self {
        Self { operations, state }
    }

    pub(crate) async fn run(self) {
        let (revocations, fence) = (Revocations::default(), self.state.current().lease.fence);
        let listens = revocations.listen(&**self.operations.cache(), &self.state.name, fence);
        let loss = tokio::select! {
            biased;
            () = self.operations.closed() => LostReason::Closed,
            loss = self.renew(&revocations) => loss,
            never = listens => match never {},
        };
        self.state.lose(loss);
    }

    /// Renews the lock again and again, until it is lost.
    async fn renew(&self, revocations: &Revocations) -> LostReason {
        loop {
            let lost_at = self.state.lost_at();
            let next = if self.state.is_last() { lost_at } else { self.next(lost_at) };
            tokio::select! {
                biased;
                () = sleep_until(next.into()) => {}
                () = revocations.news() => {}
            }
            if let Some(loss) = self.state.loss() {
                return loss;
            }
            match self.attempt(lost_at).await {
                Ok(ExtendOutcome::Extended(lease)) if lease.fence == self.state.fence() => self.state.renewed(lease),
                Ok(ExtendOutcome::Extended(_)) => {
                    self.withdraw();
                    return LostReason::Absent;
                }
                Ok(ExtendOutcome::Absent | ExtendOutcome::HeldByOther) if revocations.is_announced() => {
                    return LostReason::Revoked;
                }
                Ok(ExtendOutcome::Absent) => return LostReason::Absent,
                Ok(ExtendOutcome::HeldByOther) => return LostReason::HeldByOther,
                Err(error) => self.state.failed(error),
            }
        }
    }

    /// The store lost the lock, and granted it to the token again: another caller may have held it in between.
    fn withdraw(&self) {
        let gone = after(now(), self.state.ttl);
        self.operations.withdraw(&self.state.name, &self.state.token(), gone, &Handle::current());
    }

    /// When to renew the lock next: in time for an answer to arrive, also if its lease was old when it was granted.
    fn next(&self, lost_at: Instant) -> Instant {
        let now = now();
        let pause = if self.state.has_failed() {
            self.state.ttl / 30
        } else {
            (self.state.ttl / 3).min(lost_at.saturating_duration_since(now) / 2)
        };
        lost_at.min(now + self.operations.random().up_to_a_tenth_less(pause))
    }

    async fn attempt(&self, lost_at: Instant) -> Result<ExtendOutcome, Error> {
        let extended = self.operations.extend(&self.state.name, self.state.token(), self.state.next_ttl());
        timeout_at(lost_at.into(), extended).await.unwrap_or_else(|_| {
            let message = "the cache did not answer in time";
            Err(Error::new(ErrorKind::Unavailable, message).about(&self.state.name))
        })
    }
}
