//! One world, from its beginning to its end.

use std::sync::{Arc, Mutex};

use crate::caller::Caller;
use crate::choices::Choices;
use crate::component::Component;
use crate::guest::Guest;
use crate::invariants::Violation;
use crate::lent::Habits;
use crate::port::{Port, lock};
use crate::scheduler::Scheduler;
use crate::script::{Plan, Size};
use crate::store::{Honest, Rules};
use crate::world::{Task, World};

/// What worlds are made of: a guest, a host and a store, each of them right or broken on purpose.
#[derive(Clone)]
pub struct Cast {
    /// The lock's logic.
    pub guest: Arc<dyn Guest>,
    /// What the hosts do otherwise than they should.
    pub habits: Habits,
    /// The store's rules.
    pub rules: Arc<dyn Rules>,
}

impl Cast {
    /// The component as it ships, on a store and hosts that do as they should.
    ///
    /// # Errors
    /// If the component cannot be loaded.
    pub fn honest() -> wasmtime::Result<Self> {
        Ok(Self { guest: Component::load()?, habits: Habits::default(), rules: Arc::new(Honest) })
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
    pub story: Vec<String>,
}

/// Runs a world. What happens in it depends on the choices and on nothing else.
pub fn run(cast: &Cast, size: Size, choices: &mut Choices, told: bool) -> Ended {
    let plan = Plan::draw(size, choices);
    let world = Arc::new(Mutex::new(World::new(cast.rules.clone(), plan.strays, told)));
    let mut tasks: Vec<Task> = Vec::new();
    for (host, caller) in plan.callers.iter().enumerate() {
        let process = lock(&world).enter(host);
        let port = Port::new(world.clone(), process);
        let script = caller.script.clone();
        let caller = Caller::new(port, cast.guest.clone(), cast.habits, caller.owner.clone());
        tasks.push(Box::pin(caller.follow(script)));
    }
    let steps = Scheduler::new(world.clone(), choices, plan, tasks).run();
    let mut world = lock(&world);
    Ended { violation: world.ledger.violation.take(), steps, story: world.story.take().unwrap_or_default() }
}
