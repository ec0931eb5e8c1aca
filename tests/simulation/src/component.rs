//! The component as it ships, in instances that are kept warm.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use async_trait::async_trait;
use wasmtime::component::{HasSelf, Linker};
use wasmtime::{Config, Engine, Store};

use crate::cache::{DeleteOutcome, Entry, ExtendOutcome as Extended, SetOutcome, Stored, Unavailable, millis_floor};
use crate::guest::bindings::locker::locker::cache as wit;
use crate::guest::bindings::wasi::random::random;
use crate::guest::bindings::{Component as Exports, ComponentPre};
use crate::guest::{Answer, ExtendOutcome, Guest, Holder, LockOutcome, Options, UnlockOutcome};
use crate::sim_cache::SimCache;
use crate::table::Micros;

/// Instructions of one call, more or less: a thousand times what it should need.
const FUEL: u64 = 100_000_000;

/// The component as it ships. Each thread should have one of its own: threads share the code, not the instances.
pub struct Component {
    code: ComponentPre<State>,
    warm: Mutex<Vec<Instance>>,
}

struct Instance {
    store: Store<State>,
    exports: Exports,
}

/// The cache that the call under way is lent.
struct State(Option<SimCache>);

impl Component {
    /// The component, compiled once for all.
    ///
    /// # Errors
    /// If it cannot be loaded.
    pub fn load() -> wasmtime::Result<Arc<Self>> {
        static CODE: OnceLock<ComponentPre<State>> = OnceLock::new();
        let code = match CODE.get() {
            Some(code) => code,
            None => {
                let compiled = Self::compile()?;
                CODE.get_or_init(|| compiled)
            }
        };
        Ok(Arc::new(Self { code: code.clone(), warm: Mutex::default() }))
    }

    fn compile() -> wasmtime::Result<ComponentPre<State>> {
        let mut config = Config::new();
        config.consume_fuel(true);
        let engine = Engine::new(&config)?;
        let mut linker = Linker::new(&engine);
        Exports::add_to_linker::<_, HasSelf<State>>(&mut linker, |state: &mut State| state)?;
        let component = wasmtime::component::Component::from_binary(&engine, locker_host::COMPONENT)?;
        ComponentPre::new(linker.instantiate_pre(&component)?)
    }

    /// An instance that sees this cache. One whose call does not come to its end is not used again.
    async fn instance(&self, cache: SimCache) -> Result<Instance, String> {
        let warm = self.warm.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut instance = match warm {
            Some(instance) => instance,
            None => {
                let mut store = Store::new(self.code.engine(), State(None));
                store.set_fuel(FUEL).map_err(stopped)?;
                let exports = self.code.instantiate_async(&mut store).await.map_err(stopped)?;
                Instance { store, exports }
            }
        };
        instance.store.set_fuel(FUEL).map_err(stopped)?;
        instance.store.data_mut().0 = Some(cache);
        Ok(instance)
    }

    fn keep(&self, mut instance: Instance) {
        instance.store.data_mut().0 = None;
        self.warm.lock().unwrap_or_else(PoisonError::into_inner).push(instance);
    }
}

fn stopped(error: wasmtime::Error) -> String {
    format!("{error:#}")
}

#[async_trait]
impl Guest for Component {
    async fn lock(&self, cache: SimCache, name: &str, options: &Options) -> Answer<LockOutcome> {
        let mut instance = self.instance(cache).await?;
        let Instance { store, exports } = &mut instance;
        let answer = exports.locker_locker_locker().call_lock(store, name, options).await.map_err(stopped)?;
        self.keep(instance);
        Ok(answer)
    }

    async fn unlock(&self, cache: SimCache, name: &str, token: &str) -> Answer<UnlockOutcome> {
        let mut instance = self.instance(cache).await?;
        let Instance { store, exports } = &mut instance;
        let answer = exports.locker_locker_locker().call_unlock(store, name, token).await.map_err(stopped)?;
        self.keep(instance);
        Ok(answer)
    }

    async fn extend(&self, cache: SimCache, name: &str, token: &str, ttl_ms: u64) -> Answer<ExtendOutcome> {
        let mut instance = self.instance(cache).await?;
        let Instance { store, exports } = &mut instance;
        let answer = exports.locker_locker_locker().call_extend(store, name, token, ttl_ms).await.map_err(stopped)?;
        self.keep(instance);
        Ok(answer)
    }

    async fn inspect(&self, cache: SimCache, name: &str) -> Answer<Option<Holder>> {
        let mut instance = self.instance(cache).await?;
        let Instance { store, exports } = &mut instance;
        let answer = exports.locker_locker_locker().call_inspect(store, name).await.map_err(stopped)?;
        self.keep(instance);
        Ok(answer)
    }
}

impl State {
    fn cache(&self) -> Result<SimCache, wit::Error> {
        self.0.clone().ok_or_else(|| wit::Error::Unavailable("no call is under way".to_owned()))
    }
}

impl wit::Host for State {
    async fn set_if_absent(
        &mut self,
        key: String,
        value: String,
        ttl_ms: Option<u64>,
        wait_ms: u64,
    ) -> Result<wit::SetOutcome, wit::Error> {
        let cache = self.cache()?;
        Ok(match cache.set_if_absent(&key, &value, ttl_ms, wait_ms).await? {
            SetOutcome::Stored(stored) => wit::SetOutcome::Stored(lease(stored, cache.now())),
            SetOutcome::Occupied(entry) => wit::SetOutcome::Occupied(entry.into()),
        })
    }

    async fn extend_if_equal(
        &mut self,
        key: String,
        value: String,
        ttl_ms: u64,
    ) -> Result<wit::ExtendOutcome, wit::Error> {
        let cache = self.cache()?;
        Ok(match cache.extend_if_equal(&key, &value, ttl_ms).await? {
            Extended::Extended(stored) => wit::ExtendOutcome::Extended(lease(stored, cache.now())),
            Extended::Absent => wit::ExtendOutcome::Absent,
            Extended::Different => wit::ExtendOutcome::Different,
        })
    }

    async fn replace_if_equal(
        &mut self,
        _: String,
        _: String,
        _: String,
        _: u64,
    ) -> Result<wit::ExtendOutcome, wit::Error> {
        Err(wit::Error::Denied("this store does not replace values".to_owned()))
    }

    async fn delete_if_equal(&mut self, key: String, value: String) -> Result<wit::DeleteOutcome, wit::Error> {
        Ok(match self.cache()?.delete_if_equal(&key, &value).await? {
            DeleteOutcome::Deleted => wit::DeleteOutcome::Deleted,
            DeleteOutcome::Absent => wit::DeleteOutcome::Absent,
            DeleteOutcome::Different => wit::DeleteOutcome::Different,
        })
    }

    async fn get(&mut self, key: String) -> Result<Option<wit::Entry>, wit::Error> {
        Ok(self.cache()?.get(&key).await?.map(Into::into))
    }
}

impl random::Host for State {
    fn get_random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(len)?];
        let number = self.get_random_u64()?.to_le_bytes();
        let places = bytes.len().saturating_sub(number.len())..;
        bytes[places].iter_mut().zip(number).for_each(|(byte, random)| *byte = random);
        Ok(bytes)
    }

    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        let cache = self.0.as_ref().ok_or_else(|| wasmtime::format_err!("no call is under way"))?;
        // The bytes that come first are the same each time.
        Ok(cache.random().swap_bytes())
    }
}

impl From<Unavailable> for wit::Error {
    fn from(Unavailable: Unavailable) -> Self {
        Self::Unavailable("no answer".to_owned())
    }
}

fn lease(stored: Stored, now: Micros) -> wit::Stored {
    wit::Stored { revision: stored.revision, ttl_ms: millis_floor(stored.deadline.saturating_sub(now)) }
}

impl From<Entry> for wit::Entry {
    fn from(entry: Entry) -> Self {
        Self { value: entry.value, revision: entry.revision, ttl_ms: Some(millis_floor(entry.left)) }
    }
}
