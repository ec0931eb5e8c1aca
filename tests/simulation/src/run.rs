//! One world, from its beginning to its end.

use std::sync::{Arc, Mutex};

use crate::caller::Caller;
use crate::choices::Choices;
use crate::component::Component;
use crate::guest::Guest;
use crate::invariants::Violation;
use crate::port::{Port, lock};
use crate::rules::{Honest, Rules};
use crate::scheduler::Scheduler;
use crate::script::{Plan, Size};
use crate::sim_cache::HostBugs;

use crate::world::{Task, World};

/// What worlds are made of: a guest, a host and a store, each of them right or broken on purpose.
#[derive(Clone)]
pub struct Cast {
    /// The lock's logic.
    pub guest: Arc<dyn Guest>,
    /// What the hosts do wrong.
    pub bugs: HostBugs,
    /// The store's rules.
    pub rules: Arc<dyn Rules>,
}

impl Cast {
    /// The component as it ships, on a store and hosts that do as they should.
    ///
    /// # Errors
    /// If the component cannot be loaded.
    pub fn honest() -> wasmtime::Result<Self> {
        Ok(Self { guest: Component::load()?, bugs: HostBugs::default(), rules: Arc::new(Honest) })
    }
}

/// How a world ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// What was not as it must be, if anything.
    pub violation: Option<Violation>,
    /// How many things happened.
    pub steps: usize,
    /// What happened, in words, if it was to be told.
    pub trace: Vec<String>,
}

/// Runs a world. What happens in it depends on the choices and on nothing else.
pub fn run(cast: &Cast, size: Size, choices: &mut Choices, traced: bool) -> Ended {
    let plan = Plan::draw(size, choices);
    let world = Arc::new(Mutex::new(World::new(cast.rules.clone(), traced)));
    let mut tasks: Vec<Task> = Vec::new();
    for caller in &plan.callers {
        let process = lock(&world).add_process(caller.host);
        let port = Port::new(world.clone(), process);
        let script = caller.script.clone();
        let caller = Caller::new(port, cast.guest.clone(), cast.bugs, caller.owner.clone());
        tasks.push(Box::pin(caller.follow(script)));
    }
    if plan.clocks_are_known {
        lock(&world).read_all_clocks();
    }
    let steps = Scheduler::new(world.clone(), choices, plan, cast.bugs, tasks).run();
    let mut world = lock(&world);
    Ended { violation: world.ledger.violation.take(), steps, trace: world.trace.take().unwrap_or_default() }
}
