//! Runs the component within limits, in instances that are used again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use wasmtime::component::{HasSelf, Linker};
use wasmtime::{Config, Engine, Store, StoreLimits, StoreLimitsBuilder};

use crate::Limits;
use crate::component::bindings::{Component as Exports, ComponentPre};
use crate::component::compilation_cache;
use crate::component::context::{CallContext, LockerState};
use crate::component::pool::Pool;
use crate::error::Error;

/// How many instructions run before other tasks of the same thread get their chance.
const YIELD_INTERVAL: u64 = 1_000_000;
/// The addresses that are reserved for the memory of an instance, in bytes, and the unmapped ones after it.
const RESERVATION: u64 = 4 << 20;
const GUARD: u64 = 64 << 10;
/// How long an instance is kept that is not needed, or twice as long at most.
const MAX_IDLE_TIME: Duration = Duration::from_secs(5);

pub(crate) struct Sandbox {
    component: ComponentPre<State>,
    idle: Pool<Instance>,
    shared: Arc<LockerState>,
    limits: Limits,
}

/// An instance of the component, used by one call at a time. An instance whose call was interrupted is not used again.
pub(crate) struct Instance {
    pub(crate) store: Store<State>,
    pub(crate) exports: Exports,
}

pub(crate) struct State {
    pub(crate) call: CallContext,
    limits: StoreLimits,
}

impl Sandbox {
    pub(crate) fn new(shared: Arc<LockerState>, limits: Limits) -> Result<Self, Error> {
        let component = compiled().map_err(cannot_load)?;
        Ok(Self { component, idle: Pool::new(MAX_IDLE_TIME), shared, limits })
    }

    /// The same component in instances of their own, with another state.
    pub(crate) fn with_state(&self, shared: Arc<LockerState>) -> Self {
        Self { component: self.component.clone(), idle: Pool::new(MAX_IDLE_TIME), shared, limits: self.limits }
    }

    /// An idle instance, or a new one.
    pub(crate) async fn instance(&self) -> wasmtime::Result<Instance> {
        let mut instance = match self.idle.take() {
            Some(instance) => instance,
            None => self.instantiate().await?,
        };
        instance.store.set_fuel(self.limits.fuel)?;
        Ok(instance)
    }

    /// Keeps an instance whose call came to its end.
    pub(crate) fn keep(&self, instance: Instance) {
        self.idle.keep(instance);
    }

    async fn instantiate(&self) -> wasmtime::Result<Instance> {
        let limits = StoreLimitsBuilder::new().memory_size(self.limits.memory).trap_on_grow_failure(true).build();
        let mut store =
            Store::new(self.component.engine(), State { call: CallContext::new(self.shared.clone()), limits });
        store.limiter(|state| &mut state.limits);
        store.set_fuel(self.limits.fuel)?;
        store.fuel_async_yield_interval(Some(YIELD_INTERVAL))?;
        let exports = self.component.instantiate_async(&mut store).await?;
        Ok(Instance { store, exports })
    }
}

fn cannot_load(cause: wasmtime::Error) -> Error {
    // The type of the error is private to wasmtime.
    let denied = cause.root_cause().to_string().contains("Permission denied");
    Error::fault(if denied { NOT_EXECUTABLE } else { "the component cannot be loaded" }, cause)
}

const NOT_EXECUTABLE: &str = "the component cannot be loaded, since this process may not make memory executable: set \
    MemoryDenyWriteExecute=no in its unit";

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
    // The default reserves 4 GiB of addresses for each instance, which a limit of the process (`ulimit -v`) may not allow.
    config.memory_reservation(RESERVATION).memory_reservation_for_growth(0).memory_guard_size(GUARD);
    // It is small, and a process may be forbidden to start threads.
    config.parallel_compilation(false);
    let engine = Engine::new(&config)?;
    let mut linker = Linker::new(&engine);
    Exports::add_to_linker::<_, HasSelf<CallContext>>(&mut linker, |state: &mut State| &mut state.call)?;
    let component = compilation_cache::component(&engine, crate::COMPONENT)?;
    Ok(compiled.insert(ComponentPre::new(linker.instantiate_pre(&component)?)?).clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Memory;
    use crate::random::Random;

    #[tokio::test]
    async fn instances_for_concurrent_calls_are_built_once_and_used_again() {
        let limits = Limits::default();
        let sandbox = Sandbox::new(
            Arc::new(LockerState::new(Arc::new(Memory::default()), limits.max_ttl, Random::default())),
            limits,
        )
        .unwrap();
        for idle_before in [0, 200, 200] {
            assert_eq!(sandbox.idle.len(), idle_before);
            let mut used = Vec::new();
            for _ in 0..200 {
                used.push(sandbox.instance().await.unwrap());
            }
            assert_eq!(sandbox.idle.len(), 0);
            used.into_iter().for_each(|instance| sandbox.keep(instance));
        }
    }
}
