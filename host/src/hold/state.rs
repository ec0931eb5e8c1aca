//! What a guard and its renewal know of a lock that is held: above all, when it counts as lost, and why.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use crate::component::operations::Grant;
use crate::time::{before, elapsed, least_left, now};
use crate::{Error, Lease, LockOptions, LostReason, Token, telemetry};

/// The times that the caller has chosen.
#[derive(Clone, Copy)]
pub(crate) struct HoldTimes {
    ttl: Option<Duration>,
    max_hold: Option<Duration>,
    expiry_margin: Option<Duration>,
}

impl HoldTimes {
    pub(crate) fn of(options: &LockOptions) -> Self {
        Self { ttl: options.ttl, max_hold: options.max_hold, expiry_margin: options.expiry_margin }
    }

    /// The time to live to take the lock with: no longer than work may run and then needs to stop.
    pub(crate) fn first_ttl(&self) -> Option<Duration> {
        let ttl = self.ttl?;
        let most = self.max_hold.map(|most| most.saturating_add(self.margin(ttl)));
        Some(most.map_or(ttl, |most| most.min(ttl)))
    }

    /// What a lease must have left to count. If it is short because of the maximum hold, that is the reason for the loss.
    pub(crate) fn required(&self, granted: Duration) -> Duration {
        if self.first_ttl() != self.ttl { least_left(granted) } else { self.margin(granted) }
    }

    /// The time to live that the caller chose, or else the one that was `granted`.
    pub(crate) fn ttl(&self, granted: Duration) -> Duration {
        self.ttl.unwrap_or(granted)
    }

    /// How long before its end a lease counts as lost. No more than half the time to live, so that there is time to work.
    pub(crate) fn margin(&self, granted: Duration) -> Duration {
        let ttl = self.ttl(granted);
        self.expiry_margin.unwrap_or_else(|| (ttl / 20).min(Duration::from_millis(100))).min(ttl / 2)
    }
}

/// What a guard and its renewal know of the lock.
pub(crate) struct HoldState {
    pub(crate) name: String,
    pub(crate) since: Instant,
    /// The time to live that it is renewed with.
    pub(crate) ttl: Duration,
    margin: Duration,
    /// The end of the maximum hold.
    end: Option<Instant>,
    /// Cancelled when the lock is lost or released.
    pub(crate) over: CancellationToken,
    /// Whether it is a leader's lock, and neither lost nor released.
    leads: AtomicBool,
    current: watch::Sender<Current>,
}

/// What changes while it is held.
pub(crate) struct Current {
    pub(crate) lease: Lease,
    /// Why the last attempt to renew it failed, if it did.
    failure: Option<Arc<Error>>,
    pub(crate) loss: Option<LostReason>,
}

impl HoldState {
    pub(crate) fn new(name: &str, times: HoldTimes, Grant { lease, term }: Grant) -> Self {
        // A lease may be longer than its time to live: an earlier call with the token asked for more, or the server's clock was set back.
        let since = term.deadline.checked_sub(term.ttl).map_or_else(now, |since| since.min(now()));
        Self {
            name: name.to_owned(),
            since,
            ttl: times.ttl(term.ttl),
            margin: times.margin(term.ttl),
            end: times.max_hold.and_then(|most| since.checked_add(most)),
            over: CancellationToken::new(),
            leads: AtomicBool::new(false),
            current: watch::Sender::new(Current { lease, failure: None, loss: None }),
        }
    }

    pub(crate) fn current(&self) -> watch::Ref<'_, Current> {
        self.current.borrow()
    }

    pub(crate) fn token(&self) -> Token {
        self.current().lease.token.clone()
    }

    pub(crate) fn fence(&self) -> u64 {
        self.current().lease.fence
    }

    /// When the lock counts as lost unless it is renewed by then.
    pub(crate) fn lost_at(&self) -> Instant {
        self.limit(&self.current().lease).0
    }

    /// Whether the lease lasts for the rest of the maximum hold.
    pub(crate) fn is_last(&self) -> bool {
        self.limit(&self.current().lease).1
    }

    /// When a lock with this lease counts as lost, and whether that is the end of the maximum hold.
    fn limit(&self, lease: &Lease) -> (Instant, bool) {
        let expiry = before(lease.deadline, self.margin);
        self.end.filter(|end| *end <= expiry).map_or((expiry, false), |end| (end, true))
    }

    /// The time to live to renew the lock with: no longer than work may run and then needs to stop.
    pub(crate) fn next_ttl(&self) -> Duration {
        let most = self.end.map(|end| end.saturating_duration_since(now()).saturating_add(self.margin));
        most.map_or(self.ttl, |most| most.min(self.ttl))
    }

    /// Why the lock is lost, if it is, by the clock as of now.
    pub(crate) fn loss(&self) -> Option<LostReason> {
        self.set_loss(|current| {
            let (lost_at, is_end) = self.limit(&current.lease);
            let loss = if is_end { LostReason::MaxHold } else { LostReason::Expired(current.failure.clone()) };
            (now() >= lost_at).then_some(loss)
        })
    }

    /// The lock is lost for this reason, unless it was lost before.
    pub(crate) fn lose(&self, loss: LostReason) {
        self.set_loss(|_| Some(loss));
    }

    /// A loss is final, and reported once.
    fn set_loss(&self, loss: impl FnOnce(&Current) -> Option<LostReason>) -> Option<LostReason> {
        let is_new = self.current.send_if_modified(|current| {
            let is_new = current.loss.is_none();
            if is_new {
                current.loss = loss(current);
            }
            is_new && current.loss.is_some()
        });
        let loss = self.current().loss.clone();
        if let (true, Some(loss)) = (is_new, &loss) {
            telemetry::lost(&self.name, loss.label(), loss);
            self.end();
        }
        loss
    }

    /// The lock is a leader's, unless it was lost before.
    pub(crate) fn begin_term(&self) {
        self.leads.store(true, Relaxed);
        telemetry::term_began(&self.name, self.current().lease.fence);
        // The other order could miss a loss in between.
        if self.over.is_cancelled() {
            self.end();
        }
    }

    /// The lock was lost or is being released.
    pub(crate) fn end(&self) {
        self.over.cancel();
        if self.leads.swap(false, Relaxed) {
            telemetry::term_ended(&self.name, elapsed(self.since));
        }
    }

    /// Resolves when the lock is lost, by the clock even if nothing else was running.
    pub(crate) async fn lost(&self) -> LostReason {
        let mut changes = self.current.subscribe();
        loop {
            changes.mark_unchanged();
            if let Some(loss) = self.loss() {
                return loss;
            }
            tokio::select! {
                biased;
                () = sleep_until(self.lost_at().into()) => {}
                // This does not fail, since the sender is a field of this state.
                _ = changes.changed() => {}
            }
        }
    }

    /// The lock was renewed, which is of no use if it was lost before.
    pub(crate) fn renewed(&self, lease: Lease) {
        self.current.send_if_modified(|current| {
            let is_held = current.loss.is_none();
            if is_held {
                (current.lease, current.failure) = (lease, None);
            }
            is_held
        });
    }

    /// Resolves when the lock has another lease than `before`.
    pub(crate) async fn renewed_since(&self, before: &Lease) -> Lease {
        let mut changes = self.current.subscribe();
        let renewed = changes.wait_for(|current| current.lease.deadline != before.deadline).await;
        // Only a dropped sender ends the wait, and this one is a field of this state.
        renewed.map_or_else(|_| self.current().lease.clone(), |current| current.lease.clone())
    }

    /// An attempt to renew the lock failed.
    pub(crate) fn failed(&self, error: Error) {
        self.current.send_modify(|current| current.failure = Some(Arc::new(error)));
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.current().failure.is_some()
    }
}
