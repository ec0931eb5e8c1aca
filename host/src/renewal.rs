//! Renewing a lock that is held, and noticing that it is lost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{sleep_until, timeout_at};

use crate::guard::{Loss, Tenure};
use crate::{Error, ErrorKind, Extended, Locker};

pub(crate) struct Renewal {
    locker: Locker,
    tenure: Arc<Tenure>,
    ttl: Duration,
    /// How long before its end the lock counts as lost.
    grace: Duration,
    /// When it must have been given up, however often it could be renewed.
    end: Option<Instant>,
}

impl Renewal {
    pub(crate) fn new(
        locker: Locker,
        tenure: Arc<Tenure>,
        ttl: Duration,
        max_hold: Option<Duration>,
        grace: Option<Duration>,
    ) -> Self {
        let end = max_hold.and_then(|most| tenure.since.checked_add(most));
        let grace = grace.unwrap_or_else(|| (ttl / 20).min(Duration::from_millis(100))).min(ttl / 2);
        Self { locker, tenure, ttl, grace, end }
    }

    pub(crate) async fn run(self) {
        let loss = tokio::select! {
            biased;
            () = self.locker.closed() => Loss::Closed,
            loss = self.renew() => loss,
        };
        self.tenure.lost(loss);
    }

    /// Renews the lock again and again, until it is lost.
    async fn renew(&self) -> Loss {
        let mut error = None;
        loop {
            let (give_up, last) = self.give_up();
            let pause = if error.is_some() { self.ttl / 30 } else { self.ttl / 3 };
            let next = if last { give_up } else { give_up.min(Instant::now() + jittered(pause)) };
            sleep_until(next.into()).await;
            if Instant::now() >= give_up {
                return if last { Loss::MaxHold } else { Loss::Expired(error) };
            }
            match self.attempt(give_up).await {
                Ok(Extended::Extended(lease)) => {
                    self.tenure.renewed(lease);
                    error = None;
                }
                Ok(Extended::Absent) => return Loss::Absent,
                Ok(Extended::HeldByOther) => return Loss::HeldByOther,
                Err(failed) => error = Some(Arc::new(failed)),
            }
        }
    }

    /// When the lock counts as lost unless it is renewed, and whether it must not be.
    fn give_up(&self) -> (Instant, bool) {
        let deadline = self.tenure.deadline();
        let last = self.end.filter(|end| *end <= deadline + Duration::from_millis(1));
        let end = last.unwrap_or(deadline);
        (end.checked_sub(self.grace).unwrap_or(end), last.is_some())
    }

    async fn attempt(&self, give_up: Instant) -> Result<Extended, Error> {
        let left = self.end.map(|end| end.saturating_duration_since(Instant::now()));
        let ttl = left.map_or(self.ttl, |left| left.min(self.ttl));
        let extended = self.locker.extend(&self.tenure.name, self.tenure.token(), ttl);
        timeout_at(give_up.into(), extended).await.unwrap_or_else(|_| {
            let message = "the cache did not answer in time";
            Err(Error::new(ErrorKind::Unavailable, message).about(&self.tenure.name))
        })
    }
}

/// A pause of up to a tenth less, so that locks that were taken together are not renewed together for ever.
fn jittered(pause: Duration) -> Duration {
    let tenths = f64::from(getrandom::u32().unwrap_or_default()) / f64::from(u32::MAX);
    pause.mul_f64(1.0 - tenths / 10.0)
}
