//! Waiting on while the cache is unavailable.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::timeout;

use crate::component::operations::{Attempt, Operations};
use crate::options::OnOutage;
use crate::store::{CacheError, outage};
use crate::{Error, ErrorKind, LockOptions};

/// The shortest delay between two attempts during an outage; the longest is twice as long.
const DELAY: Duration = Duration::from_millis(400);

/// The outages during the wait of one call.
pub(super) struct Outages {
    name: String,
    on_outage: OnOutage,
    chose_token: bool,
    is_away: AtomicBool,
}

impl Outages {
    /// None for a call that makes a single attempt, or that is to fail in an outage.
    pub(super) fn of(name: &str, options: &mut LockOptions) -> Option<Arc<Self>> {
        let on_outage = options.on_outage.take().filter(|_| !options.wait.is_zero())?;
        let chose_token = options.token.is_some();
        Some(Arc::new(Self { name: name.to_owned(), on_outage, chose_token, is_away: AtomicBool::new(false) }))
    }

    /// Makes an attempt with so much time left. During an outage it does not wait in the queue, so its answer says at once that the
    /// outage is over.
    pub(super) async fn attempt(
        self: &Arc<Self>,
        operations: &Operations,
        mut options: LockOptions,
        left: Duration,
    ) -> Result<Attempt, Error> {
        options.wait = if self.is_away() { Duration::ZERO } else { left };
        let outages = self.clone();
        let observer = move |failure: Option<&CacheError>| match failure {
            Some(failure) => outages.failed(&Error::new(failure.kind(), failure.to_string()).about(&outages.name)),
            None => outages.answered(),
        };
        let attempt = outage::observed(Arc::new(observer), operations.attempt(&self.name, options)).await;
        if attempt.is_ok() {
            self.answered();
        }
        attempt
    }

    /// Returns when the next attempt is due after an error, or with the error if it ends the wait. `was_away`: the attempt did not wait.
    pub(super) async fn outlast(
        &self,
        operations: &Operations,
        error: Error,
        was_away: bool,
        left: Duration,
    ) -> Result<(), Error> {
        // A request that waited with a chosen token may be in the queue. It is being withdrawn, which would end a lease of the same token.
        let is_withdrawn = self.chose_token && !was_away && error.may_have_taken_effect();
        if error.kind() != ErrorKind::Unavailable || left.is_zero() || is_withdrawn {
            return Err(error);
        }
        let delay = operations.random().up_to_twice(DELAY).min(left);
        // A locker that was closed stays away.
        if timeout(Duration::ZERO, operations.closed()).await.is_ok() {
            return Err(error);
        }
        self.failed(&error);
        match timeout(delay, operations.closed()).await {
            Ok(()) => Err(error),
            Err(_) => Ok(()),
        }
    }

    pub(super) fn is_away(&self) -> bool {
        self.is_away.load(Relaxed)
    }

    fn failed(&self, error: &Error) {
        if !self.is_away.swap(true, Relaxed) {
            (self.on_outage.0)(error);
        }
    }

    fn answered(&self) {
        self.is_away.store(false, Relaxed);
    }
}
