//! What all tasks of a world share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::flaws::Flaw;
use super::invariants::QuorumInvariant;
use super::ledger::Ledger;
use super::plan::{Plan, mixed};
use super::request::{Reply, Request};
use super::server::Server;

pub(crate) struct World {
    pub(crate) plan: Plan,
    started: Instant,
    state: Mutex<State>,
    /// A violation: the world ends.
    pub(crate) stop: Notify,
    /// Of each process: it has crashed.
    pub(crate) crash: Vec<Notify>,
}

pub(crate) struct State {
    pub(crate) servers: Vec<Server>,
    pub(crate) ledger: Ledger,
    pub(crate) partitions: BTreeMap<(usize, usize), u32>,
    pub(crate) crashed: BTreeSet<usize>,
    /// Nothing goes wrong any more.
    pub(crate) calm: bool,
    pub(crate) links: BTreeMap<(usize, usize), Rng>,
    /// How many requests members were asked.
    pub(crate) requests: usize,
    pub(crate) trace: Option<Vec<String>>,
}

/// More than any world needs.
const MAX_REQUESTS: usize = 50_000;

impl World {
    pub(crate) fn new(plan: Plan, flaw: Option<Flaw>, traced: bool) -> Arc<Self> {
        let servers = plan.clocks.iter().map(|clock| Server::new(*clock, plan.shared_counter, flaw)).collect();
        let state = State {
            servers,
            ledger: Ledger::default(),
            partitions: BTreeMap::new(),
            crashed: BTreeSet::new(),
            calm: false,
            links: BTreeMap::new(),
            requests: 0,
            trace: traced.then(Vec::new),
        };
        let crash = plan.processes.iter().map(|_| Notify::new()).collect();
        Arc::new(Self { plan, started: Instant::now(), state: Mutex::new(state), stop: Notify::new(), crash })
    }

    /// How long the world has lasted.
    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    pub(crate) fn since_start(&self, instant: std::time::Instant) -> Duration {
        Instant::from_std(instant).saturating_duration_since(self.started)
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes or checks the ledger. A violation ends the world.
    pub(crate) fn ledger<T>(&self, step: impl FnOnce(&mut Ledger, Duration) -> T) -> T {
        let now = self.now();
        let mut state = self.state();
        let done = step(&mut state.ledger, now);
        if state.ledger.violation.is_some() {
            self.stop.notify_one();
        }
        done
    }

    pub(crate) fn violated(&self, invariant: QuorumInvariant, what: impl Into<String>) {
        self.ledger(|ledger, _| ledger.violated(invariant, what.into()));
    }

    pub(crate) fn tell(&self, line: impl FnOnce() -> String) {
        let now = self.now();
        if let Some(trace) = &mut self.state().trace {
            trace.push(format!("{:>9.3} {}", now.as_secs_f64() * 1000.0, line()));
        }
    }

    /// Notes what the members have at the beginning of a call.
    pub(crate) fn note_values(&self, key: &str) -> Duration {
        let now = self.now();
        let state = &mut *self.state();
        state.ledger.note_values(key, &state.servers, now);
        now
    }

    /// A member does what is asked.
    pub(crate) fn apply(&self, process: usize, member: usize, request: &Request, sent: Duration) -> Reply {
        let now = self.now();
        let state = &mut *self.state();
        if let Some(key) = request.key() {
            state.ledger.note_values(key, &state.servers, now);
        }
        let others = match request {
            Request::Vote { key, value, .. } if state.servers[member].flaw == Some(Flaw::ReportsOthers) => {
                let others = state.servers.iter().find_map(|server| server.entry(key, now));
                others.filter(|entry| entry.value != *value).map(Reply::Occupied)
            }
            _ => None,
        };
        let reply = state.servers[member].apply(request, now, sent, others);
        if let Some(key) = request.key() {
            state.ledger.note_values(key, &state.servers, now);
        }
        state.requests += 1;
        if state.requests > MAX_REQUESTS {
            state.ledger.violated(QuorumInvariant::EveryCallEnds, "there is no end of requests".to_owned());
            self.stop.notify_one();
        }
        if let Some(trace) = &mut state.trace {
            let (at, sent) = (now.as_secs_f64() * 1000.0, sent.as_secs_f64() * 1000.0);
            trace.push(format!("{at:>9.3} p{process} -> m{member}: {request} (sent at {sent:.3}): {reply}"));
        }
        reply
    }

    /// The process does nothing any more.
    pub(crate) fn crashes(&self, process: usize) {
        self.tell(|| format!("p{process} crashes"));
        let state = &mut *self.state();
        state.crashed.insert(process);
        state.ledger.crashes(process);
        self.crash[process].notify_one();
    }

    /// A number for a link, of which each depends on the earlier ones of this link only.
    pub(crate) fn link<T>(&self, process: usize, member: usize, draw: impl FnOnce(&mut Rng) -> T) -> T {
        let seed = || Rng::with_seed(mixed(&[self.plan.seed, process as u64, member as u64]));
        draw(self.state().links.entry((process, member)).or_insert_with(seed))
    }
}
