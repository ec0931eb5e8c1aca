//! What all tasks of a world share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use fastrand::Rng;
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::{Instant, sleep};

use super::invariants::HostInvariant;
use super::ledger::Ledger;
use super::links::Down;
use super::network::Connection;
use super::plan::{HostPlan, mixed};
use super::sites::{Peer, Sites};
use super::store::Stores;
use super::variants::{Flaw, Variant};

pub(super) struct World {
    pub(super) plan: HostPlan,
    started: Instant,
    state: Mutex<State>,
    flaw: Option<Flaw>,
    /// A violation: the world ends.
    pub(super) stop: Notify,
    /// Of each process: it has crashed.
    pub(super) crash: Vec<Notify>,
}

pub(super) struct State {
    pub(super) sites: Sites,
    pub(super) ledger: Ledger,
    pub(super) links: BTreeMap<Route, Link>,
    /// Where the replies and messages to a connection go.
    pub(super) downs: BTreeMap<Peer, Downstream>,
    /// Until when the requests of a broken connection are on their way.
    pub(super) late: BTreeMap<Peer, Duration>,
    pub(super) crashed: BTreeSet<usize>,
    /// The stores of all processes, which stay until the world ends.
    pub(super) stores: Vec<Stores>,
    pub(super) waits_for_replica: bool,
    /// Nothing goes wrong any more.
    pub(super) calm: bool,
    pub(super) requests: usize,
    pub(super) trace: Option<Vec<String>>,
}

/// A connection as the server sees it.
#[derive(Clone)]
pub(super) struct Downstream {
    pub(super) process: usize,
    pub(super) down: UnboundedSender<(Duration, Down)>,
}

/// From which process to which site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Route {
    pub(super) process: usize,
    pub(super) site: usize,
}

/// The network between a process and a site.
pub(super) struct Link {
    pub(super) rng: Rng,
    pub(super) connection: Weak<Connection>,
    pub(super) hangs_until: Duration,
}

/// The longest that a server takes to notice that a client crashed.
const NOTICES_MS: u64 = 10_000;

impl World {
    pub(super) fn new(plan: HostPlan, variant: Option<&Variant>, traced: bool) -> Arc<Self> {
        let state = State {
            sites: Sites::new(&plan, variant.and_then(Variant::patch).as_ref()),
            ledger: Ledger::new(&plan),
            links: BTreeMap::new(),
            downs: BTreeMap::new(),
            late: BTreeMap::new(),
            crashed: BTreeSet::new(),
            stores: Vec::new(),
            waits_for_replica: plan.waits_for_replica,
            calm: false,
            requests: 0,
            trace: traced.then(Vec::new),
        };
        let crash = plan.processes.iter().map(|_| Notify::new()).collect();
        let flaw = variant.and_then(Variant::flaw);
        Arc::new(Self { plan, started: Instant::now(), state: Mutex::new(state), flaw, stop: Notify::new(), crash })
    }

    /// How long the world has lasted.
    pub(super) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    pub(super) fn since_start(&self, instant: std::time::Instant) -> Duration {
        Instant::from_std(instant).saturating_duration_since(self.started)
    }

    pub(super) fn flaw(&self) -> Option<Flaw> {
        self.flaw
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes or checks the ledger. A violation ends the world.
    pub(super) fn ledger<T>(&self, step: impl FnOnce(&mut Ledger, Duration) -> T) -> T {
        let now = self.now();
        let mut state = self.state();
        let done = step(&mut state.ledger, now);
        if state.ledger.violation.is_some() {
            self.stop.notify_one();
        }
        done
    }

    pub(super) fn violated(&self, invariant: HostInvariant, what: impl Into<String>) {
        self.ledger(|ledger, _| ledger.violated(invariant, what.into()));
    }

    pub(super) fn tell(&self, line: impl FnOnce() -> String) {
        let now = self.now();
        if let Some(trace) = &mut self.state().trace {
            trace.push(format!("{:>9.3} {}", now.as_secs_f64() * 1000.0, line()));
        }
    }

    pub(super) fn link<T>(&self, route: Route, step: impl FnOnce(&mut Link) -> T) -> T {
        let new = || Link {
            rng: Rng::with_seed(mixed(&[self.plan.seed, 4, route.process as u64, route.site as u64])),
            connection: Weak::new(),
            hangs_until: Duration::ZERO,
        };
        step(self.state().links.entry(route).or_insert_with(new))
    }

    /// The process does nothing any more. The servers close its connections when they notice.
    pub(super) fn crashes(self: &Arc<Self>, process: usize) {
        self.tell(|| format!("p{process} crashes"));
        self.state().crashed.insert(process);
        for site in 0..self.plan.clocks.len() {
            let ms = self.link(Route { process, site }, |link| link.rng.u64(0..NOTICES_MS));
            // Two at once may have connected to a node of a cluster.
            let state = self.state();
            let all = state.downs.iter().filter(|(peer, down)| peer.site == site && down.process == process);
            for peer in all.map(|(peer, _)| *peer) {
                let world = self.clone();
                tokio::spawn(async move {
                    sleep(Duration::from_millis(ms)).await;
                    world.closed(peer);
                });
            }
        }
        self.ledger(|ledger, _| ledger.crashes(process));
        self.crash[process].notify_one();
    }

    /// The stores, without which the processes end.
    pub(super) fn take_stores(&self) -> Vec<Stores> {
        std::mem::take(&mut self.state().stores)
    }

    pub(super) fn has_crashes(&self) -> bool {
        !self.state().crashed.is_empty()
    }

    pub(super) fn has_crashed(&self, process: usize) -> bool {
        self.state().crashed.contains(&process)
    }
}
