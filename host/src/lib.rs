//! A distributed lock whose whole logic is one sandboxed WebAssembly component.
//!
//! ```
//! use std::time::Duration;
//! use locker_host::{Lock, Locker, Memory};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), locker_host::Error> {
//! let locker = Locker::new(Memory::default())?; // or Redis::connect("redis://localhost").await?
//! match locker.lock("nightly-report", Duration::from_secs(30)).await? {
//!     Lock::Granted(lease) => {
//!         println!("we hold it with fence {}", lease.fence);
//!         locker.unlock("nightly-report", &lease.token).await?;
//!     }
//!     Lock::Held(holder) => println!("held by {:?}, {:?} left", holder.owner, holder.ttl),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! To hold a lock for as long as some work takes, [`Locker::with`] runs the work, and [`Locker::hold`] gives a guard.
//!
//! A lease is a promise with an end: when its time is up, the store gives the lock to whoever asks next, whether the
//! first holder has noticed or not. Do not work past [`Lease::deadline`], and send [`Lease::fence`] along with every
//! write, so that what the lock protects can refuse a holder that came too late.
//!
//! All of this needs a Tokio runtime with time enabled, and for Redis also I/O.
//!
//! # Three ways in
//!
//! - From Rust: [`Locker`]. Take this whenever the program that needs the lock is your own.
//! - For plugins that import `locker:locker/locker`: [`add_to_linker`], or [`add_to_linker_sync`]. The lock logic runs in a
//!   sandbox of its own beside the plugin, which learns nothing of the cache. Take this for plugins that you do not trust,
//!   and if in doubt.
//! - For plugins that were composed with [`COMPONENT`]: [`add_cache_to_linker`]. Each brings the lock logic along, so the
//!   embedder need not know of locks at all; but whoever imports the cache sees the tokens of its namespace.
//!
//! In both of the latter, [`Locker::plugin`] gives each plugin a [`Scope`], which is enforced on the cache.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use locker_host::{Locker, Memory, Plugin, Scope, add_to_linker};
//! use wasmtime::{Engine, Store, component::{Component, Linker}};
//!
//! struct State { locks: Plugin }
//!
//! let locker = Locker::new(Memory::default())?; // or Redis::connect("redis://localhost").await?
//! let engine = Engine::default();
//! let mut linker = Linker::new(&engine);
//! add_to_linker(&mut linker, |state: &mut State| &mut state.locks)?;
//!
//! let plugin = Component::from_binary(&engine, b"\0asm\x0d\0\x01\0")?; // the emptiest of plugins
//! let locks = locker.plugin(Scope::new("reports")?.max_held(10));
//! let mut store = Store::new(&engine, State { locks: locks.clone() });
//! linker.instantiate_async(&mut store, &plugin).await?;
//! // ... and when the plugin has ended, however it did:
//! drop(store);
//! locks.release_all().await;
//! # Ok(())
//! # }
//! ```
//!
//! A plugin that loops, hoards memory or traps is its embedder's to stop, by the limits of the embedder's own stores. `Runner`
//! has them set, for components that are whole programs.
//!
//! # Limits
//!
//! | what | limit | why |
//! |---|---|---|
//! | the lock component: memory | [`Limits::memory`]: 4 MiB | it needs a little over one |
//! | the lock component: instructions of a call | [`Limits::fuel`]: a billion | a lock takes thousands |
//! | an operation, besides its wait | [`Limits::deadline`]: 10 s | longer than a failover takes |
//! | a time to live | [`Limits::max_ttl`]: a day | what a crash costs the others at most |
//! | a plugin: what it does with locks | [`Scope`] | what one plugin that went wild may cost the others |
//! | a program: memory | `Runner::max_memory`: 256 MiB | interpreters fit |
//! | a program: time | `Runner::max_time`: none | programs may be services; one that loops gives way every 10 ms |
//!
//! What goes beyond a limit of the sandbox is answered with [`ErrorKind::Fault`], its instance is thrown away, and other calls do
//! not notice. What goes beyond a scope is [`ErrorKind::Denied`], and the plugin goes on.
//!
//! # Versions of the contract
//!
//! The WIT package follows semantic versioning. A plugin that was built against 0.1.0 runs on every host that offers a
//! later 0.1; what breaks a plugin comes as 0.2, and a host then offers both for a while. The same holds for the component: one of
//! 0.1.0 runs on every later host of 0.1. An item says since when it is there (`@since`), and a plugin must not rely on what is
//! newer than the host that it is to run on.
//!
//! # Features
//!
//! All are on by default; a host of plugins that keeps its locks in memory, or in a cache of its own, needs none.
//!
//! - `redis`: the store in Redis.
//! - `code-cache`: `keep_code_in`, which keeps compiled code for the next process.
//! - `run`: `Runner`, which runs whole programs, with `wasmtime-wasi`.
//! - `cli`: the command `locker`, and what only it needs, which includes all of these.
//!
//! # Layout
//!
//! Data flows one way: caller, [`Locker`], component, [`Cache`].
//!
//! - `locker`: [`Locker`], what callers use; `options`: how they use it; `lease`: what it answers; `error`: what it
//!   answers when it cannot.
//! - `grant`: taking a lock with enough time left; `term`: how much that is.
//! - `guard`: holding a lock while work is done; `hold_state`: when it counts as lost; `renewal`: what keeps it; `list`: all locks; `events`: what is told.
//! - `sandbox`: runs the component within limits; `pool`: its idle instances; `code`: its compiled code; `bindings`: its WIT in
//!   Rust.
//! - `call`: one call into the component, and what it may reach from there; `orphan_cleanup`: removes values whose caller was
//!   cancelled.
//! - `plugin`: locks for an embedder's plugins; `scope`: the limits of each; `scoped`: a cache within them; `usage`: counts;
//!   `runner`: runs programs that use locks.
//! - `cache`: the trait [`Cache`]; `memory` and `redis` implement it, and `quorum` does with several of them. They know nothing
//!   of locks.

#![deny(missing_docs)]

mod bindings;
mod cache;
mod call;
mod code;
mod error;
mod events;
mod grant;
mod guard;
mod hold_state;
mod lease;
mod list;
mod locker;
mod memory;
mod options;
mod orphan_cleanup;
mod plugin;
mod pool;
mod quorum;
#[cfg(feature = "redis")]
mod redis;
mod renewal;
#[cfg(feature = "run")]
mod runner;
mod sandbox;
mod scope;
mod scoped;
mod term;
mod usage;

pub use cache::{
    Cache, CacheError, DeleteOutcome, Entry, ExtendOutcome, QuorumMember, SetOutcome, Stored, Vote, VoteOutcome,
};
#[cfg(feature = "code-cache")]
pub use code::keep_code_in;
pub use error::{Error, ErrorKind};
pub use guard::{Guard, Loss, Ran};
pub use lease::{Extended, Holder, Lease, Lock, Token, Unlock};
pub use locker::Locker;
pub use memory::Memory;
pub use options::{Limits, LockOptions};
pub use plugin::{Plugin, add_cache_to_linker, add_to_linker, add_to_linker_sync};
pub use quorum::Quorum;
#[cfg(feature = "redis")]
pub use redis::Redis;
#[cfg(feature = "run")]
pub use runner::{Ended, Program, Runner};
pub use scope::{Operation, Scope};

/// The component: all of the lock's logic, as a WebAssembly binary for the world `locker:locker/component`.
///
/// ```
/// assert!(locker_host::COMPONENT.starts_with(b"\0asm"));
/// ```
pub const COMPONENT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/locker.wasm"));

/// The contract: the WIT package `locker:locker`, as one document.
///
/// ```
/// assert!(locker_host::WIT.contains("interface locker {"));
/// ```
pub const WIT: &str = concat!(
    include_str!("../wit/world.wit"),
    "\n",
    include_str!("../wit/locker.wit"),
    "\n",
    include_str!("../wit/cache.wit"),
);

#[cfg(all(doctest, feature = "redis", feature = "run", not(packaged)))]
mod pages {
    #[doc = include_str!("../../README.md")]
    struct Readme;
    #[doc = include_str!("../../docs/guarantees.md")]
    struct Guarantees;
    #[doc = include_str!("../../docs/plugins.md")]
    struct Plugins;
}
