//! What callers do with locks that they have.

use std::sync::Arc;
use std::time::Duration;

use locker_host::{ExtendOutcome, Guard, Lease, LockOptions, UnlockOutcome, WithOutcome};
use tokio::time::sleep;

use super::caller::{Caller, RECOVERY};
use super::invariants::HostInvariant::{ExtensionsTellTheTruth, LeasesLast, ReleasesTellTheTruth};
use super::leaders::Work;
use super::ledger::Granted;
use super::plan::{Attempt, Ends};
use super::revocations::Held;

/// A shorter lease may end while its renewal, and those of others before it, are confirmed.
const RENEWABLE_MS: u64 = 4_000;

impl Caller {
    pub(super) fn grant(&self, name: &str, lease: &Lease) {
        let deadline = self.world.since_start(lease.deadline);
        let (token, fence) = (lease.token.as_str(), lease.fence);
        self.world.tell(|| format!("{token} has {name} with {fence} until {deadline:?}"));
        let granted = Granted { process: self.process, name, token, fence, deadline };
        self.world.ledger(|ledger, now| ledger.grant(&granted, now));
    }

    pub(super) fn writes(&self, lease: &Lease) {
        self.world.ledger(|ledger, now| ledger.writes(lease.token.as_str(), lease.fence, now));
    }

    /// Uses a lease without a guard.
    pub(super) async fn uses(&mut self, name: &str, attempt: &Attempt, lease: Lease) {
        let slice = Duration::from_millis(attempt.hold_ms) / u32::try_from(attempt.extends_ms.len() + 1).unwrap_or(1);
        for ttl_ms in &attempt.extends_ms {
            sleep(slice).await;
            self.writes(&lease);
            if !self.extends(name, &lease, Duration::from_millis(*ttl_ms)).await {
                break;
            }
        }
        sleep(slice).await;
        // Perhaps too late: the fence must guard against that.
        self.writes(&lease);
        match attempt.ends {
            Ends::Releases => self.releases(name, &lease).await,
            Ends::Drops => {}
            Ends::Completes { period_ms } => {
                let (token, period, started) =
                    (lease.token.as_str(), Duration::from_millis(period_ms), self.world.now());
                let (was_valid, had) = self.ends(name, token);
                let answer = self.locker.complete(name, token, period).await;
                self.ends_in_time(started, Duration::ZERO, "a completion");
                self.completed((name, token), answer, (started, started + period), was_valid.then_some(had));
            }
            Ends::Crashes => self.crashes().await,
        }
    }

    /// Answers whether the caller still has the lock.
    async fn extends(&self, name: &str, lease: &Lease, ttl: Duration) -> bool {
        let (token, started) = (lease.token.as_str(), self.world.now());
        self.world.tell(|| format!("{token} wants {name} for {ttl:?} more"));
        self.world.ledger(|ledger, now| ledger.shortens(token, ttl, now));
        let answer = self.locker.extend(name, token, ttl).await;
        self.ends_in_time(started, Duration::ZERO, "an extension");
        match answer {
            Ok(ExtendOutcome::Extended(lease)) => {
                let deadline = self.world.since_start(lease.deadline);
                self.world.tell(|| format!("{token} has {name} until {deadline:?}"));
                self.world.ledger(|ledger, now| ledger.extended(token, lease.fence, deadline, now));
            }
            Ok(ExtendOutcome::Absent | ExtendOutcome::HeldByOther) => {
                self.world.ledger(|ledger, now| ledger.refused(token, ExtensionsTellTheTruth, now));
                return false;
            }
            Err(error) => self.failed(&error, started),
        }
        true
    }

    async fn releases(&self, name: &str, lease: &Lease) {
        let (token, started) = (lease.token.as_str(), self.world.now());
        let (was_valid, had) = self.ends(name, token);
        self.world.tell(|| format!("{token} releases {name}"));
        let answer = self.locker.unlock(name, token).await;
        self.ends_in_time(started, Duration::ZERO, "a release");
        match answer {
            Ok(outcome) => self.released((name, token), outcome, started, was_valid.then_some(had)),
            Err(error) => self.failed(&error, started),
        }
    }

    /// The caller counts on its lease no more. Answers whether it could, and which sites have it.
    fn ends(&self, name: &str, token: &str) -> (bool, Vec<usize>) {
        self.world.ledger(|ledger, now| {
            let valid = ledger.valid(now).any(|lease| lease.token == token);
            ledger.ends(token);
            (valid, ledger.sites_that_have(name, token))
        })
    }

    /// The answer to a release. `had` are the sites that had the lock if the caller could count on it.
    pub(super) fn released(
        &self,
        (name, token): (&str, &str),
        outcome: UnlockOutcome,
        started: Duration,
        had: Option<Vec<usize>>,
    ) {
        self.world.tell(|| format!("{token} is told: {outcome:?}"));
        self.world.ledger(|ledger, now| {
            if outcome == UnlockOutcome::Released {
                return ledger.released(name, token, started);
            }
            // An earlier copy of the request may have released it, and the lease may have ended meanwhile.
            let since = started.saturating_sub(Duration::from_secs(1));
            let healthy = had.is_some_and(|had| ledger.is_healthy_with(self.process, since, &had));
            let excused = ledger.lease_ended_by(token, now);
            if healthy && !excused {
                ledger.violated(ReleasesTellTheTruth, format!("{token} has {name}, and is told {outcome:?}"));
            }
        });
    }

    /// Holds a lock by a guard.
    pub(super) async fn holds(&mut self, name: &str, attempt: &Attempt, guard: Guard) {
        let (granted, lease) = (self.world.now(), guard.lease());
        let guard = Arc::new(guard);
        let token = lease.token.as_str();
        self.world.ledger(|ledger, _| {
            ledger.guards.push((name.to_owned(), token.to_owned(), Arc::downgrade(&guard)));
        });
        let lost = self.watches(&guard, Duration::from_millis(attempt.hold_ms)).await;
        let ttl = Duration::from_millis(attempt.ttl_ms);
        let held = Held { process: self.process, token, ttl, granted };
        self.world.ledger(|ledger, now| ledger.check_told(&held, now));
        self.writes(&lease);
        if let Some(loss) = &lost {
            self.world.tell(|| format!("{token} lost {name}: {loss}"));
            if matches!(loss, locker_host::LostReason::Absent | locker_host::LostReason::HeldByOther) {
                self.world.ledger(|ledger, now| ledger.refused(token, LeasesLast, now));
            }
            self.world.ledger(|ledger, _| {
                // Until its first renewal, a lock may be on a bare majority, one of which may be away then.
                let was_well = (!ledger.is_quorum() || self.world.plan.is_rolling())
                    && ledger.is_healthy(self.process, granted.saturating_sub(RECOVERY));
                if was_well && attempt.ttl_ms >= RENEWABLE_MS && !ledger.is_excused(token) {
                    ledger.violated(LeasesLast, format!("{token} lost {name} while all was well: {loss}"));
                }
            });
        }
        let (was_valid, had) = self.ends(name, token);
        match attempt.ends {
            Ends::Releases => {
                let started = self.world.now();
                self.world.tell(|| format!("{token} releases {name}"));
                let Some(guard) = Arc::into_inner(guard) else { return };
                match guard.release().await {
                    Ok(outcome) => {
                        let had = (was_valid && lost.is_none()).then_some(had);
                        self.released((name, token), outcome, started, had);
                    }
                    Err(error) => self.failed(&error, started),
                }
            }
            Ends::Completes { period_ms } => {
                // The period begins with the first lease, which is longer than its time to live if the server's clock was set back.
                let until =
                    self.world.since_start(lease.deadline).min(granted + ttl) + Duration::from_millis(period_ms);
                let (started, until) = (self.world.now(), until.saturating_sub(ttl));
                let Some(guard) = Arc::into_inner(guard) else { return };
                let answer = guard.complete(Duration::from_millis(period_ms)).await;
                let had = (was_valid && lost.is_none()).then_some(had);
                if answer.is_err() {
                    self.world.ledger(|ledger, _| ledger.given_up(token));
                }
                self.completed((name, token), answer, (started, until), had);
            }
            Ends::Drops => {
                drop(guard);
                self.world.ledger(|ledger, _| ledger.given_up(token));
            }
            Ends::Crashes => self.crashes().await,
        }
    }

    /// Works for so long, unless the lock is lost before. The ledger learns of renewals.
    async fn watches(&self, guard: &Guard, length: Duration) -> Option<locker_host::LostReason> {
        let done = sleep(length);
        tokio::pin!(done);
        let mut lease = guard.lease();
        loop {
            tokio::select! {
                biased;
                loss = guard.lost() => return Some(loss),
                renewed = guard.renewed(&lease) => {
                    lease = renewed;
                    let deadline = self.world.since_start(lease.deadline);
                    self.world.ledger(|ledger, now| ledger.extended(lease.token.as_str(), lease.fence, deadline, now));
                    self.writes(&lease);
                }
                () = &mut done => return None,
            }
        }
    }

    /// Works while it has a lock.
    pub(super) async fn works(&mut self, name: &str, attempt: &Attempt, label: &str, options: LockOptions) -> bool {
        let started = self.world.now();
        let wait = Duration::from_millis(attempt.wait_ms);
        let this = &*self;
        let done = self.locker.with(name, options, |lease| async move {
            this.ends_in_time(started, wait, label);
            this.world.ledger(|ledger, _| ledger.over(label, false));
            Work::begin(this, name, lease, attempt).works(Duration::from_millis(attempt.hold_ms)).await;
        });
        match done.await {
            Ok(WithOutcome::Held(holder)) => {
                self.told_of(name, &holder, label, started);
                self.world.ledger(|ledger, _| ledger.over(label, true));
                return false;
            }
            Ok(WithOutcome::Done(())) => {}
            Ok(WithOutcome::Lost { reason, .. }) => {
                self.world.tell(|| format!("{label} lost {name}: {reason}"));
                self.world.ledger(|ledger, _| ledger.ends_call(label));
            }
            Err(error) => {
                self.failed(&error, started);
                self.world.ledger(|ledger, _| ledger.over(label, true));
                return false;
            }
        }
        true
    }

    async fn crashes(&self) {
        self.world.crashes(self.process);
        std::future::pending().await
    }
}
