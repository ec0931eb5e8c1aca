//! What processes do.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use locker_host::cache::{Entry, SetOutcome, Stored};
use locker_host::simulation::Environment;
use locker_host::{Cache, CacheError, Quorum, QuorumMember};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::invariants::QuorumInvariant::{EveryCallEnds, LeasesLast, NoPanic, RenewedHoldsSurvive};
use super::ledger::Gone;
use super::link::Link;
use super::plan::{Attempt, Ends, Step, key_name, mixed};
use super::world::World;

/// A caller in a process.
pub(crate) struct Caller {
    pub(crate) world: Arc<World>,
    pub(crate) process: usize,
    pub(crate) quorum: Quorum,
    pub(crate) rng: Rng,
}

/// For how many timeouts a call may go on after its wait.
const MAX_TIMEOUTS: u32 = 15;

/// A quorum as a process has it.
pub(crate) fn quorum(world: &Arc<World>, process: usize, ahead_micros: u64) -> Option<Quorum> {
    const YEAR_2026: u64 = 1_770_000_000_000_000;
    let link = |member| Arc::new(Link { world: world.clone(), process, member }) as Arc<dyn QuorumMember>;
    let members = (0..world.plan.clocks.len()).map(link).collect();
    let seed = mixed(&[world.plan.seed, 1, process as u64]);
    let quorum = Quorum::new(members).ok()?.timeout(Duration::from_millis(world.plan.timeout_ms));
    Some(quorum.environment(&Environment::simulated(seed, YEAR_2026 + ahead_micros)))
}

/// Runs the callers of a process until they are done or the process crashes.
pub(crate) async fn process(world: Arc<World>, process: usize) {
    let plan = &world.plan.processes[process];
    let Some(quorum) = quorum(&world, process, plan.ahead_micros) else { return };
    let mut callers = JoinSet::new();
    for (number, steps) in plan.callers.iter().enumerate() {
        let rng = Rng::with_seed(mixed(&[world.plan.seed, 2, process as u64, number as u64]));
        let caller = Caller { world: world.clone(), process, quorum: quorum.clone(), rng };
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
    async fn run(mut self, steps: Vec<Step>) {
        for step in steps {
            match step {
                Step::Pause { ms } => sleep(Duration::from_millis(ms)).await,
                Step::Get { key } => self.get(key_name(key)).await,
                Step::Lock(attempt) => self.lock(&attempt).await,
            }
        }
    }

    async fn get(&self, key: &str) {
        let since = self.world.note_values(key);
        let (holder, losses) = self.world.ledger(|ledger, now| (ledger.holder(key, now), ledger.losses));
        let answer = self.quorum.get(key).await;
        self.world.tell(|| format!("p{} gets {key}: {answer:?}", self.process));
        self.world.note_values(key);
        self.world.ledger(|ledger, now| match answer {
            Ok(Some(entry)) => ledger.told(key, &entry.value, "", since),
            Ok(None) if holder.is_some() && ledger.holder(key, now) == holder && ledger.losses == losses => {
                ledger.violated(LeasesLast, format!("{key} is said to be free, and {holder:?} has it"));
            }
            Ok(None) | Err(_) => {}
        });
    }

    /// Wants a lock, and holds it if it is granted.
    pub(crate) async fn lock(&mut self, attempt: &Attempt) {
        let (key, value) = (key_name(attempt.key), format!("{:06x}-p{}", self.rng.u32(..1 << 24), self.process));
        self.world.ledger(|ledger, _| ledger.asks(key, &value));
        for retry in 0..=attempt.retries {
            let since = self.world.note_values(key);
            self.world.tell(|| {
                format!(
                    "p{} asks for {key} with {value} for {} ms, waits for {} ms",
                    self.process, attempt.ttl_ms, attempt.wait_ms
                )
            });
            let Some(outcome) = self.set(key, &value, attempt).await else { break };
            self.world.note_values(key);
            match outcome {
                Ok(SetOutcome::Stored(stored)) => return self.granted(key, &value, attempt, stored).await,
                Ok(SetOutcome::Occupied(entry)) => {
                    self.occupied(key, &value, &entry, since);
                    if retry == attempt.retries {
                        self.world.ledger(|ledger, _| {
                            ledger.gone.insert((key.to_owned(), value), Gone { process: self.process, released: false })
                        });
                        return;
                    }
                }
                // The value must not be used again.
                Err(error) => {
                    self.world.tell(|| format!("p{} fails: {error}", self.process));
                    self.world.ledger(|ledger, _| ledger.failed.push(error.to_string()));
                    break;
                }
            }
            sleep(Duration::from_millis(self.rng.u64(0..300))).await;
        }
        self.withdraw(key, &value, attempt.ttl_ms).await;
    }

    /// The answer, or none if the caller drops the call.
    async fn set(&self, key: &str, value: &str, attempt: &Attempt) -> Option<Result<SetOutcome, CacheError>> {
        let (started, wait) = (self.world.now(), Duration::from_millis(attempt.wait_ms));
        let call = self.quorum.set_if_absent(key, value, Some(Duration::from_millis(attempt.ttl_ms)), wait);
        let outcome = match attempt.drops_after_ms {
            Some(ms) => timeout(Duration::from_millis(ms), call).await.ok(),
            None => Some(call.await),
        };
        if outcome.is_none() {
            self.world.tell(|| format!("p{} drops its call", self.process));
        }
        let late = (self.world.now() - started).saturating_sub(wait);
        // An election goes on for four timeouts without a majority, and may begin a round and a withdrawal at the end of them. One that is under
        // way when the wait ends is followed by a last one.
        if late > MAX_TIMEOUTS * Duration::from_millis(self.world.plan.timeout_ms) {
            self.world.violated(EveryCallEnds, format!("the call of {value} took {late:?} longer than its wait"));
        }
        outcome
    }

    fn occupied(&self, key: &str, value: &str, entry: &Entry, since: Duration) {
        self.world.tell(|| format!("p{} is told that {} has {key}", self.process, entry.value));
        self.world.ledger(|ledger, _| {
            ledger.occupied += 1;
            ledger.told(key, &entry.value, value, since);
        });
    }

    async fn granted(&mut self, key: &str, value: &str, attempt: &Attempt, stored: Stored) {
        let deadline = self.world.since_start(stored.deadline);
        self.world.tell(|| format!("p{} has {key} with {} until {deadline:?}", self.process, stored.revision));
        self.world.ledger(|ledger, now| ledger.grant(self.process, key, value, stored.revision, deadline, now));
        let kept = self.hold(key, value, attempt, stored).await;
        if attempt.survives && !kept {
            self.world.violated(RenewedHoldsSurvive, format!("{value} lost {key}"));
        }
        match attempt.ends {
            Ends::Releases => self.release(key, value, attempt.ttl_ms).await,
            Ends::Expires => sleep(Duration::from_millis(attempt.ttl_ms)).await,
            Ends::Crashes => {
                self.world.crashes(self.process);
                std::future::pending().await
            }
        }
        self.world.ledger(|ledger, _| ledger.ends(key, value));
    }

    /// Withdraws the value as the host of a caller that went away does, until it is answered or the value has expired.
    pub(crate) async fn withdraw(&mut self, key: &str, value: &str, ttl_ms: u64) {
        let ends = self.world.now() + Duration::from_millis(ttl_ms);
        while self.world.now() < ends {
            let answer = self.quorum.withdraw(key, value).await;
            self.world.tell(|| format!("p{} withdraws {value} from {key}: {answer:?}", self.process));
            if answer.is_ok() {
                let gone = Gone { process: self.process, released: false };
                self.world.ledger(|ledger, _| ledger.gone.insert((key.to_owned(), value.to_owned()), gone));
                return;
            }
            sleep(Duration::from_millis(self.rng.u64(100..1_000))).await;
        }
    }
}
