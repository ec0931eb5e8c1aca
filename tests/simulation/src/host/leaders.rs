//! Callers that lead.

use std::time::Duration;

use locker_host::{ErrorKind, Guard, Lease, LockOptions, LockOutcome};
use tokio::time::sleep;

use super::caller::Caller;
use super::invariants::HostInvariant::LeadersOutlastOutages;
use super::plan::Attempt;
use super::revocations::Held;
use super::variants::Flaw;

/// The work under a lock. Dropping it ends the work.
pub(super) struct Work<'a> {
    caller: &'a Caller,
    lease: Lease,
    ttl: Duration,
    granted: Duration,
}

impl<'a> Work<'a> {
    pub(super) fn begin(caller: &'a Caller, name: &str, lease: Lease, attempt: &Attempt) -> Self {
        caller.grant(name, &lease);
        Self { caller, lease, ttl: Duration::from_millis(attempt.ttl_ms), granted: caller.world.now() }
    }

    pub(super) async fn works(self, length: Duration) {
        // The renewals are not told, so the ledger counts on the first lease only.
        sleep(length).await;
        self.caller.writes(&self.lease);
    }
}

impl Drop for Work<'_> {
    fn drop(&mut self) {
        let Self { caller, lease, ttl, granted } = self;
        let token = lease.token.as_str();
        let held = Held { process: caller.process, token, ttl: *ttl, granted: *granted };
        caller.world.ledger(|ledger, now| {
            ledger.check_told(&held, now);
            ledger.ends(token);
        });
    }
}

impl Caller {
    /// Leads until the work is done.
    pub(super) async fn leads(&self, name: &str, attempt: &Attempt, label: &str, options: LockOptions) -> bool {
        let started = self.world.now();
        let (mut terms, length) = (0, Duration::from_millis(attempt.hold_ms));
        let work = |lease| {
            // A leader that loses each term before its work is done would lead for ever.
            terms += 1;
            Work::begin(self, name, lease, attempt).works(length / terms)
        };
        let answer = self.locker.lead(name, options, work).await;
        self.world.ledger(|ledger, _| ledger.over(label, true));
        let Err(error) = answer else { return true };
        self.gives_up(label, &error);
        self.failed(&error, started);
        false
    }

    /// Waits for the lock without an end, and holds it.
    pub(super) async fn campaigns(&self, name: &str, label: &str, options: LockOptions) -> Option<Guard> {
        let started = self.world.now();
        let campaign = if self.world.flaw() == Some(Flaw::LeadersGiveUp) {
            self.locker.hold(name, options.wait(Duration::MAX)).await
        } else {
            self.locker.campaign(name, options).await.map(LockOutcome::Granted)
        };
        if let Err(error) = &campaign {
            self.gives_up(label, error);
        }
        self.granted(name, label, campaign, started)
    }

    fn gives_up(&self, label: &str, error: &locker_host::Error) {
        if error.kind() == ErrorKind::Unavailable {
            self.world.violated(LeadersOutlastOutages, format!("{label} leads no more: {error}"));
        }
    }
}
