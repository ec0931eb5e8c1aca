//! Locks for the plugins of a wasmtime-based host.
//!
//! - `scope`: the namespace and the limits of a plugin. `scoped`: a cache within them, which puts the namespace before each key; `usage`: counts.
//! - `runner`: runs programs that use locks.

#[cfg(feature = "run")]
pub(crate) mod runner;
mod scope;
mod scoped;
mod usage;

use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use wasmtime::component::{HasData, Linker};

pub use self::scope::{Operation, Scope};
use self::scoped::Scoped;
use crate::component::bindings::locker::locker::cache as cache_wit;
use crate::component::bindings::wasi::random::random;
use crate::component::bindings::{blocking, plugin};
use crate::component::context::CallContext;
use crate::time::{millis_ceil, millis_floor, now};
use crate::{Error, ErrorKind, ExtendOutcome, Lease, LockOptions, LockOutcome, Locker, Token, UnlockOutcome};

/// What an instance of a plugin may do with locks, for the data of its store. A clone is the same instance's.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use locker_host::{Locker, Memory, LockerCtx, Scope, add_to_linker};
/// use wasmtime::component::{Component, Linker};
/// use wasmtime::{Engine, Store};
///
/// let locker = Locker::new(Memory::default())?; // or Redis::connect("redis://localhost").await?
/// let engine = Engine::default();
/// let mut linker = Linker::<LockerCtx>::new(&engine);
/// add_to_linker(&mut linker, |plugin| plugin)?;
///
/// let component = Component::from_binary(&engine, b"\0asm\x0d\0\x01\0")?; // the emptiest of plugins
/// let mut store = Store::new(&engine, LockerCtx::new(&locker, Scope::new("reports")?));
/// linker.instantiate_async(&mut store, &component).await?;
/// # Ok(())
/// # }
/// ```
pub struct LockerCtx {
    host: Locker,
    locker: Locker,
    scoped: Arc<Scoped>,
    call: CallContext,
}

impl LockerCtx {
    /// What a plugin may do with the locks of `locker`.
    #[must_use]
    pub fn new(locker: &Locker, scope: Scope) -> Self {
        Self::with(locker, Arc::new(Scoped::new(locker.operations().cache().clone(), scope)))
    }

    fn with(host: &Locker, scoped: Arc<Scoped>) -> Self {
        let locker = host.over(scoped.clone());
        let call = locker.operations().context();
        Self { host: host.clone(), locker, scoped, call }
    }

    /// The plugin's own locker: its names are those of the scope.
    #[must_use]
    pub fn locker(&self) -> &Locker {
        &self.locker
    }

    /// The same for one more instance of the plugin. The scope counts what all of them do; what this one takes is released
    /// apart.
    #[must_use]
    pub fn new_instance(&self) -> Self {
        Self::with(&self.host, Arc::new(self.scoped.new_instance()))
    }

    /// Releases all locks that were taken through this or any of its clones, and ends their waits: for when the instance has ended,
    /// has trapped or was dropped. Returns how many locks there were. A lock that cannot be released now expires.
    pub async fn release_all(&self) -> usize {
        self.scoped.release_all().await
    }
}

impl Clone for LockerCtx {
    fn clone(&self) -> Self {
        let Self { host, locker, scoped, call } = self;
        Self { host: host.clone(), locker: locker.clone(), scoped: scoped.clone(), call: call.another() }
    }
}

impl HasData for LockerCtx {
    type Data<'a> = &'a mut Self;
}

/// Lets plugins import `locker:locker/locker`, in stores that are used asynchronously. `plugin` finds theirs in the data of
/// the store.
///
/// A call that waits for a lock holds its store, and nothing else.
///
/// # Errors
/// If something of that name is in the linker.
pub fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    plugin: fn(&mut T) -> &mut LockerCtx,
) -> wasmtime::Result<()> {
    plugin::locker::locker::locker::add_to_linker::<T, LockerCtx>(linker, plugin)
}

/// Lets plugins import `locker:locker/locker`, in stores that are used synchronously. A call holds its thread until it is
/// answered; the work is done on a thread of its own, so this may be called from anywhere.
///
/// # Errors
/// If something of that name is in the linker.
pub fn add_to_linker_sync<T: 'static>(
    linker: &mut Linker<T>,
    plugin: fn(&mut T) -> &mut LockerCtx,
) -> wasmtime::Result<()> {
    blocking::locker::locker::locker::add_to_linker::<T, LockerCtx>(linker, plugin)
}

/// Lets components import `locker:locker/cache` and `wasi:random/random`, in stores that are used asynchronously: for plugins
/// that were composed with [`COMPONENT`](crate::COMPONENT), as by `wac plug`.
///
/// A component that imports the cache sees the tokens of the other users of its namespace: they must trust each other. A call that
/// waits is in the same queue as all other callers, and holds its store.
///
/// # Errors
/// If something of these names is in the linker.
pub fn add_cache_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    plugin: fn(&mut T) -> &mut LockerCtx,
) -> wasmtime::Result<()> {
    cache_wit::add_to_linker::<T, LockerCtx>(linker, plugin)?;
    random::add_to_linker::<T, LockerCtx>(linker, plugin)
}

impl cache_wit::Host for LockerCtx {
    async fn set_if_absent(
        &mut self,
        key: String,
        value: String,
        ttl_ms: Option<u64>,
        wait_ms: u64,
    ) -> Result<cache_wit::SetOutcome, cache_wit::Error> {
        self.call.set_if_absent(key, value, ttl_ms, wait_ms).await
    }

    async fn extend_if_equal(
        &mut self,
        key: String,
        value: String,
        ttl_ms: u64,
    ) -> Result<cache_wit::ExtendOutcome, cache_wit::Error> {
        self.call.extend_if_equal(key, value, ttl_ms).await
    }

    async fn replace_if_equal(
        &mut self,
        key: String,
        value: String,
        replacement: String,
        ttl_ms: u64,
    ) -> Result<cache_wit::ExtendOutcome, cache_wit::Error> {
        self.call.replace_if_equal(key, value, replacement, ttl_ms).await
    }

    async fn delete_if_equal(
        &mut self,
        key: String,
        value: String,
    ) -> Result<cache_wit::DeleteOutcome, cache_wit::Error> {
        self.call.delete_if_equal(key, value).await
    }

    async fn get(&mut self, key: String) -> Result<Option<cache_wit::Entry>, cache_wit::Error> {
        self.call.get(key).await
    }
}

impl random::Host for LockerCtx {
    fn get_random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        self.call.get_random_bytes(len)
    }

    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        self.call.get_random_u64()
    }
}

/// The interface `locker` on top of a [`Locker`], with the types of one set of bindings or the other.
macro_rules! locker_interface {
    ($wit:path, $call:ident $(, $async:ident)?) => {
        use $wit as wit;

        impl wit::Host for LockerCtx {
            $($async)? fn lock(&mut self, name: String, options: wit::Options) -> Result<wit::LockOutcome, wit::Error> {
                let wit::Options { ttl_ms, wait_ms, owner, token } = options;
                let (locker, options) = (self.locker.clone(), lock_options(ttl_ms, wait_ms, owner, token));
                let locked = $call!(async move { locker.lock(&name, options).await });
                Ok(match locked? {
                    LockOutcome::Granted(lease) => wit::LockOutcome::Granted(lease.into()),
                    LockOutcome::Held(holder) => wit::LockOutcome::Held(holder.into()),
                })
            }

            $($async)? fn unlock(&mut self, name: String, token: String) -> Result<wit::UnlockOutcome, wit::Error> {
                let locker = self.locker.clone();
                let unlocked = $call!(async move { locker.unlock(&name, token).await });
                Ok(unlocked?.into())
            }

            $($async)? fn complete(
                &mut self,
                name: String,
                token: String,
                ttl_ms: u64,
            ) -> Result<wit::UnlockOutcome, wit::Error> {
                let (locker, ttl) = (self.locker.clone(), Duration::from_millis(ttl_ms));
                let completed = $call!(async move { locker.complete(&name, token, ttl).await });
                Ok(completed?.into())
            }

            $($async)? fn revoke(&mut self, name: String, fence: u64) -> Result<wit::UnlockOutcome, wit::Error> {
                self.scoped.allow(Operation::Revoke).map_err(|error| wit::Error::Denied(error.to_string()))?;
                let locker = self.locker.clone();
                let revoked = $call!(async move { locker.revoke(&name, Some(fence)).await });
                Ok(revoked?.into())
            }

            $($async)? fn extend(
                &mut self,
                name: String,
                token: String,
                ttl_ms: u64,
            ) -> Result<wit::ExtendOutcome, wit::Error> {
                let (locker, ttl) = (self.locker.clone(), Duration::from_millis(ttl_ms));
                let extended = $call!(async move { locker.extend(&name, token, ttl).await });
                Ok(match extended? {
                    ExtendOutcome::Extended(lease) => wit::ExtendOutcome::Extended(lease.into()),
                    ExtendOutcome::Absent => wit::ExtendOutcome::Absent,
                    ExtendOutcome::HeldByOther => wit::ExtendOutcome::HeldByOther,
                })
            }

            $($async)? fn inspect(&mut self, name: String) -> Result<Option<wit::Holder>, wit::Error> {
                let locker = self.locker.clone();
                let holder = $call!(async move { locker.inspect(&name).await });
                Ok(holder?.map(Into::into))
            }
        }

        impl From<Lease> for wit::Lease {
            fn from(lease: Lease) -> Self {
                let left = lease.deadline.saturating_duration_since(now()).min(lease.ttl);
                Self { token: lease.token.as_str().to_owned(), fence: lease.fence, ttl_ms: millis_floor(left) }
            }
        }

        impl From<crate::Holder> for wit::Holder {
            fn from(holder: crate::Holder) -> Self {
                let crate::Holder { owner, fence, ttl, done } = holder;
                Self { owner, fence, ttl_ms: ttl.map(millis_ceil), done_ms: done.map(millis_floor) }
            }
        }

        impl From<UnlockOutcome> for wit::UnlockOutcome {
            fn from(outcome: UnlockOutcome) -> Self {
                match outcome {
                    UnlockOutcome::Released => Self::Released,
                    UnlockOutcome::Absent => Self::Absent,
                    UnlockOutcome::HeldByOther => Self::HeldByOther,
                }
            }
        }

        impl From<Error> for wit::Error {
            fn from(error: Error) -> Self {
                let message = error.message().to_owned();
                match error.kind() {
                    ErrorKind::Denied => Self::Denied(message),
                    ErrorKind::Invalid => Self::Invalid(message),
                    ErrorKind::Unavailable | ErrorKind::Expired | ErrorKind::Fault => Self::Unavailable(message),
                }
            }
        }
    };
}

macro_rules! awaited {
    ($call:expr) => {
        $call.await
    };
}

macro_rules! waited_for {
    ($call:expr) => {
        wait_for($call)
    };
}

mod for_async_stores {
    use super::*;
    locker_interface!(crate::component::bindings::plugin::locker::locker::locker, awaited, async);
}

mod for_sync_stores {
    use super::*;
    locker_interface!(crate::component::bindings::blocking::locker::locker::locker, waited_for);
}

fn lock_options(
    ttl_ms: Option<u64>,
    wait_ms: Option<u64>,
    owner: Option<String>,
    token: Option<String>,
) -> LockOptions {
    let mut options = LockOptions::default().wait(Duration::from_millis(wait_ms.unwrap_or_default()));
    options.ttl = ttl_ms.map(Duration::from_millis);
    options.owner = owner;
    options.token = token.map(Token::from);
    options
}

/// Waits for an answer without being part of any runtime. The caller may be on a runtime's thread, which could not drive it.
fn wait_for<T: Send + 'static>(call: impl Future<Output = Result<T, Error>> + Send + 'static) -> Result<T, Error> {
    let (sender, receiver) = sync_channel(1);
    let runtime = background().map_err(|why| Error::new(ErrorKind::Fault, format!("cannot start a thread: {why}")))?;
    runtime.spawn(async move {
        // If this fails, the caller is gone.
        _ = sender.send(call.await);
    });
    receiver.recv().unwrap_or_else(|_| Err(Error::new(ErrorKind::Fault, "the call came to no end")))
}

/// The runtime of a thread that does what callers without one ask for.
fn background() -> std::io::Result<Handle> {
    static RUNTIME: std::sync::Mutex<Option<Runtime>> = std::sync::Mutex::new(None);
    let mut runtime = RUNTIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(runtime) = &*runtime {
        return Ok(runtime.handle().clone());
    }
    let started = Builder::new_multi_thread().worker_threads(1).thread_name("locker").enable_all().build()?;
    Ok(runtime.insert(started).handle().clone())
}
