//! What processes do.

use std::sync::Arc;
use std::time::Duration;

use locker_host::{Error, Holder, LockOptions, LockOutcome, Locker};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::asked::label_of;
use super::completions::is_record;
use super::invariants::HostInvariant::{EveryCallEnds, HealthyCallsSucceed, HoldersAreReal, NoPanic};
use super::plan::{Attempt, Step, Style, lock_name};
use super::resumes::Resumed;
use super::store::locker;
use super::waiters::GRACES;
use super::world::World;

/// A caller in a process.
pub(super) struct Caller {
    pub(super) world: Arc<World>,
    pub(super) process: usize,
    pub(super) locker: Locker,
    number: usize,
    calls: usize,
}

/// How long a call may take besides its wait: the limit of the host, and some time to notice it.
pub(super) const LONGEST: Duration = Duration::from_millis(10_500);
/// After a fault, calls may fail for some time.
pub(super) const RECOVERY: Duration = Duration::from_secs(10);

/// Runs the callers of a process until they are done or the process crashes.
pub(super) async fn process(world: Arc<World>, process: usize) {
    let Ok(locker) = locker(&world, process) else { return world.violated(NoPanic, "there is no locker") };
    let mut callers = JoinSet::new();
    for (number, steps) in world.plan.processes[process].callers.iter().enumerate() {
        let caller = Caller::new(&world, process, number, locker.clone());
        callers.spawn(caller.run(steps.clone()));
    }
    loop {
        tokio::select! {
            biased;
            () = world.crash[process].notified() => return,
            done = callers.join_next() => match done {
                Some(Err(error)) if error.is_panic() => return world.violated(NoPanic, "a caller panicked"),
                Some(_) => {}
                None => return,
            }
        }
    }
}

impl Caller {
    pub(super) fn new(world: &Arc<World>, process: usize, number: usize, locker: Locker) -> Self {
        Self { world: world.clone(), process, locker, number, calls: 0 }
    }

    async fn run(mut self, steps: Vec<Step>) {
        for step in steps {
            match step {
                Step::Pause { ms } => sleep(Duration::from_millis(ms)).await,
                Step::Inspect { name } => self.inspect(lock_name(name)).await,
                Step::Lock(attempt) => _ = self.lock(&attempt).await,
                Step::Revoke { name, fenced, late_ms } => {
                    self.revoke(lock_name(name), fenced, Duration::from_millis(late_ms)).await;
                }
                Step::Watch { name, ms } => self.watch(lock_name(name), Duration::from_millis(ms)).await,
            }
        }
    }

    async fn inspect(&self, name: &str) {
        let started = self.world.now();
        let holder = |world: &World| {
            world.ledger(|ledger, now| {
                ledger.valid(now).find(|lease| lease.name == name).map(|lease| lease.token.clone())
            })
        };
        let before = holder(&self.world);
        let answer = self.locker.inspect(name).await;
        self.world.tell(|| format!("p{} is told of {name}: {:?}", self.process, answer.as_ref().ok()));
        self.ends_in_time(started, Duration::ZERO, "inspect");
        match answer {
            Ok(None) if before.is_some() && holder(&self.world) == before => {
                self.world.violated(HoldersAreReal, format!("{name} is said to be free, and {before:?} has it"));
            }
            Ok(Some(holder)) => self.told_of(name, &holder, "", started),
            Ok(None) => {}
            Err(error) => self.failed(&error, started),
        }
    }

    /// Wants a lock, and holds it if it is granted. Answers whether it was.
    pub(super) async fn lock(&mut self, attempt: &Attempt) -> bool {
        self.calls += 1;
        let (name, label) = (lock_name(attempt.name), format!("p{}c{}n{}", self.process, self.number, self.calls));
        self.world.ledger(|ledger, _| ledger.begins(&label, self.process));
        self.world.tell(|| {
            format!(
                "{label} wants {name} for {} ms by {:?}, waits {} ms",
                attempt.ttl_ms, attempt.style, attempt.wait_ms
            )
        });
        let Some(drops_after) = attempt.drops_after_ms.map(Duration::from_millis) else {
            return self.take(attempt, &label).await;
        };
        // `with` and holding may be dropped, too.
        let granted = timeout(drops_after, self.take(attempt, &label)).await;
        if granted.is_err() {
            self.world.tell(|| format!("{label} is dropped"));
            self.world.ledger(|ledger, _| ledger.drops(&label));
        }
        granted.unwrap_or_default()
    }

    async fn take(&mut self, attempt: &Attempt, label: &str) -> bool {
        let (name, started) = (lock_name(attempt.name), self.world.now());
        let wait = Duration::from_millis(attempt.wait_ms);
        let options = LockOptions::from(Duration::from_millis(attempt.ttl_ms)).wait(wait).owner(label);
        match attempt.style {
            _ if attempt.chooses => match self.resumes(attempt, label, options).await {
                Some(Resumed::Lease(lease)) => self.uses(name, attempt, lease).await,
                Some(Resumed::Guard(guard)) => self.holds(name, attempt, guard).await,
                None => return false,
            },
            Style::Lock => {
                let outcome = self.locker.lock(name, options).await;
                self.ends_in_time(started, wait, label);
                let Some(lease) = self.granted(name, label, outcome, started) else { return false };
                self.grant(name, &lease);
                self.uses(name, attempt, lease).await;
            }
            Style::Hold => {
                let outcome = self.locker.hold(name, options).await;
                self.ends_in_time(started, wait, label);
                let Some(guard) = self.granted(name, label, outcome, started) else { return false };
                self.grant(name, &guard.lease());
                self.holds(name, attempt, guard).await;
            }
            Style::Campaign => {
                let Some(guard) = self.campaigns(name, label, options).await else { return false };
                self.grant(name, &guard.lease());
                self.holds(name, attempt, guard).await;
            }
            Style::Lead => return self.leads(name, attempt, label, options).await,
            Style::With => return self.works(name, attempt, label, options).await,
        }
        true
    }

    /// What was granted, if anything was. The ledger learns of it.
    pub(super) fn granted<T>(
        &self,
        name: &str,
        label: &str,
        outcome: Result<LockOutcome<T>, Error>,
        started: Duration,
    ) -> Option<T> {
        let granted = match outcome {
            Ok(LockOutcome::Granted(granted)) => Some(granted),
            Ok(LockOutcome::Held(holder)) => {
                self.world.tell(|| format!("{label} is told that {:?} has {name}", holder.owner));
                self.told_of(name, &holder, label, started);
                None
            }
            Err(error) => {
                self.failed(&error, started);
                None
            }
        };
        self.world.ledger(|ledger, _| ledger.over(label, granted.is_none()));
        granted
    }

    /// A caller was told of a holder, which must be another call for the lock.
    pub(super) fn told_of(&self, name: &str, holder: &Holder, label: &str, started: Duration) {
        let (owner, is_done) = (holder.owner.as_deref().unwrap_or_default(), holder.done.is_some());
        let (is_real, may_be_itself) = self.world.ledger(|ledger, _| {
            let values = ledger.seen.iter().filter(|(value, seen)| label_of(value) == owner && seen.name == name);
            let mut values = values.filter(|(value, _)| is_record(value) == is_done);
            let seen = values.any(|(value, _)| ledger.had(value, started));
            // During a grace, the head of the queue counts as the holder.
            let is_real = seen
                || (ledger.losses > 0 || !ledger.is_healthy(self.process, started.saturating_sub(GRACES)))
                    && ledger.calls.contains_key(owner);
            // A server that lost a withdrawal may hand the lock to an earlier value of the call.
            (is_real, ledger.losses > 0)
        });
        if !is_real || (owner == label && !may_be_itself) {
            self.world.violated(HoldersAreReal, format!("{label:?} is told that {owner:?} has {name}"));
        }
    }

    pub(super) fn failed(&self, error: &Error, started: Duration) {
        self.world.tell(|| format!("p{} fails: {error}", self.process));
        self.world.ledger(|ledger, _| {
            ledger.failed += 1;
            // Without one member, the others may not be able to say who has the lock.
            let may_be_split = ledger.is_quorum() && !ledger.is_calm();
            let says = error.to_string();
            let is_split = ["no caller had a majority", "and a majority is needed", "do not agree on its fence"]
                .iter()
                .any(|what| says.contains(what));
            // A member of a quorum may be slow that is needed, since another one lacks the lock.
            let is_slow = self.world.plan.waits_for_replica || ledger.is_quorum();
            let is_short = is_slow && says.contains("time to live was over");
            let is_excused = (may_be_split && is_split) || is_short;
            if !is_excused && ledger.is_healthy(self.process, started.saturating_sub(RECOVERY)) {
                ledger.violated(HealthyCallsSucceed, format!("p{}: {error}", self.process));
            }
        });
    }

    pub(super) fn ends_in_time(&self, started: Duration, wait: Duration, what: &str) {
        let took = (self.world.now() - started).saturating_sub(wait);
        if took > LONGEST {
            self.world.violated(EveryCallEnds, format!("{what} took {took:?} longer than its wait"));
        }
    }
}
