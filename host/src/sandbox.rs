//! Runs the component within limits, in instances that are kept warm.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wasmtime::component::{HasSelf, Linker};
use wasmtime::{Config, Engine, Store, StoreLimits, StoreLimitsBuilder};

use crate::bindings::{Component as Exports, ComponentPre};
use crate::call::{Call, Shared};
use crate::error::Error;
use crate::{Limits, code};

/// How many instructions run before other tasks of the same thread get their chance.
const SLICE: u64 = 1_000_000;
/// Instances kept for reuse. More may run at once.
const WARM: usize = 64;

pub(crate) struct Sandbox {
    component: ComponentPre<State>,
    warm: Mutex<Vec<Instance>>,
    shared: Arc<Shared>,
    limits: Limits,
}

/// An instance of the component, used by one call at a time. One whose call did not come to its end is not used again.
pub(crate) struct Instance {
    pub(crate) store: Store<State>,
    pub(crate) exports: Exports,
}

pub(crate) struct State {
    pub(crate) call: Call,
    limits: StoreLimits,
}

impl Sandbox {
    pub(crate) fn new(shared: Arc<Shared>, limits: Limits) -> Result<Self, Error> {
        let component = compiled().map_err(|cause| Error::fault("the component cannot be loaded", cause))?;
        Ok(Self { component, warm: Mutex::default(), shared, limits })
    }

    /// The same component in instances of their own, for those who share something else.
    pub(crate) fn apart(&self, shared: Arc<Shared>) -> Self {
        Self { component: self.component.clone(), warm: Mutex::default(), shared, limits: self.limits }
    }

    /// A warm instance, or a new one.
    pub(crate) async fn instance(&self) -> wasmtime::Result<Instance> {
        let warm = self.warm().pop();
        let mut instance = match warm {
            Some(instance) => instance,
            None => self.instantiate().await?,
        };
        instance.store.set_fuel(self.limits.fuel)?;
        Ok(instance)
    }

    /// Keeps an instance whose call came to its end.
    pub(crate) fn keep(&self, instance: Instance) {
        let mut warm = self.warm();
        if warm.len() < WARM {
            warm.push(instance);
        }
    }

    async fn instantiate(&self) -> wasmtime::Result<Instance> {
        let limits = StoreLimitsBuilder::new().memory_size(self.limits.memory).trap_on_grow_failure(true).build();
        let mut store = Store::new(self.component.engine(), State { call: Call::new(self.shared.clone()), limits });
        store.limiter(|state| &mut state.limits);
        store.set_fuel(self.limits.fuel)?;
        store.fuel_async_yield_interval(Some(SLICE))?;
        let exports = self.component.instantiate_async(&mut store).await?;
        Ok(Instance { store, exports })
    }

    fn warm(&self) -> MutexGuard<'_, Vec<Instance>> {
        self.warm.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The component, compiled once in this process.
fn compiled() -> wasmtime::Result<ComponentPre<State>> {
    static COMPILED: Mutex<Option<ComponentPre<State>>> = Mutex::new(None);
    let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(component) = &*compiled {
        return Ok(component.clone());
    }
    let mut config = Config::new();
    // Only debuggers and profilers need what this leaves out, and to register it takes time at each start.
    config.consume_fuel(true).native_unwind_info(false);
    let engine = Engine::new(&config)?;
    let mut linker = Linker::new(&engine);
    Exports::add_to_linker::<_, HasSelf<Call>>(&mut linker, |state: &mut State| &mut state.call)?;
    let component = code::component(&engine, crate::COMPONENT)?;
    Ok(compiled.insert(ComponentPre::new(linker.instantiate_pre(&component)?)?).clone())
}
