//! The subject of the tests: the lock's logic, over a cache that it is lent.

use async_trait::async_trait;

use crate::sim_cache::SimCache;

pub use bindings::exports::locker::locker::locker::{
    Error, ExtendOutcome, Holder, Lease, LockOutcome, Options, UnlockOutcome,
};

pub(crate) mod bindings {
    #![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, reason = "generated; documented in the WIT")]

    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "component",
        imports: { "wasi:random/random": trappable, default: async },
        exports: { default: async },
    });
}

/// An answer, or why there is none; on the outside, what stopped the guest.
pub type Answer<T> = Result<Result<T, Error>, String>;

/// The lock's logic. [`Component`](crate::Component) is what ships; the others are broken on purpose.
#[async_trait]
pub trait Guest: Send + Sync {
    /// Takes the lock, or waits for it.
    async fn lock(&self, cache: SimCache, name: &str, options: &Options) -> Answer<LockOutcome>;

    /// Releases the lock if `token` holds it.
    async fn unlock(&self, cache: SimCache, name: &str, token: &str) -> Answer<UnlockOutcome>;

    /// Gives the lock a new time to live if `token` holds it.
    async fn extend(&self, cache: SimCache, name: &str, token: &str, ttl_ms: u64) -> Answer<ExtendOutcome>;

    /// Tells who holds the lock.
    async fn inspect(&self, cache: SimCache, name: &str) -> Answer<Option<Holder>>;
}
