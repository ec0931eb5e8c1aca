//! A distributed lock whose whole logic is one sandboxed WebAssembly component.
//!
//! ```
//! use std::time::Duration;
//! use locker_host::{LockOutcome, Locker, Memory};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), locker_host::Error> {
//! let locker = Locker::new(Memory::default())?; // or Redis::connect("redis://localhost").await?
//! match locker.lock("nightly-report", Duration::from_secs(30)).await? {
//!     LockOutcome::Granted(lease) => {
//!         println!("we hold it with fence {}", lease.fence);
//!         locker.unlock("nightly-report", &lease.token).await?;
//!     }
//!     LockOutcome::Held(holder) => println!("held by {:?}, {:?} left", holder.owner, holder.ttl),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! To hold a lock for as long as some work takes, [`Locker::with`] runs the work, and [`Locker::hold`] gives a guard.
//! [`Locker::lead`] runs work on one process at a time, with the others on standby.
//!
//! A lease is a promise with an end: when its time is up, the store gives the lock to the next caller, whether the
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
//!   embedder need not know of locks at all; but a plugin that imports the cache sees the tokens of its namespace.
//!
//! In both of the latter, [`LockerCtx::new`] gives each plugin a [`Scope`], which is enforced on the cache.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use locker_host::{Locker, Memory, LockerCtx, Scope, add_to_linker};
//! use wasmtime::{Engine, Store, component::{Component, Linker}};
//!
//! struct State { locks: LockerCtx }
//!
//! let locker = Locker::new(Memory::default())?; // or Redis::connect("redis://localhost").await?
//! let engine = Engine::default();
//! let mut linker = Linker::new(&engine);
//! add_to_linker(&mut linker, |state: &mut State| &mut state.locks)?;
//!
//! let plugin = Component::from_binary(&engine, b"\0asm\x0d\0\x01\0")?; // the emptiest of plugins
//! let locks = LockerCtx::new(&locker, Scope::new("reports")?.max_locks(10));
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
//! - `redis` (default): the store in Redis.
//! - `local`: the store that the processes of one machine share, without a server. Linux only.
//! - `compilation-cache`: keeps compiled code for the next process.
//! - `run`: `Runner`, which runs whole programs, with `wasmtime-wasi`.
//!
//! A host of plugins that keeps its locks in memory, or in a cache of its own, needs none of them.
//!
//! # Layout
//!
//! Data flows one way: caller, [`Locker`], component, [`Cache`].
//!
//! - `locker`: [`Locker`], what callers use; `options`: how they use it; `outcome`: what it answers; `error`: what it answers when it cannot.
//! - `hold`: takes locks, renews them while work is done, and notices when they are lost.
//! - `plugin`: locks for an embedder's plugins, and their limits; runs programs that use locks.
//! - `component`: the component in its sandbox, and what its calls may reach.
//! - `store`: the trait [`Cache`] and the stores that implement it. They know nothing of locks, and queue the waiters.
//! - `time`: clocks and the arithmetic of times; `random`: random bits; `environment`: both of a process. `telemetry`: events and metrics.

#![deny(missing_docs)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod component;
mod environment;
mod error;
mod hold;
mod locker;
mod options;
mod outcome;
mod plugin;
mod random;
mod store;
mod telemetry;
mod time;
mod watch;

#[cfg(feature = "compilation-cache")]
pub use component::compilation_cache::set_compilation_cache_dir;
pub use error::Error;
pub use hold::{Guard, LostReason, WithOutcome};
pub use locker::Locker;
pub use options::{Limits, LockOptions};
pub use outcome::{ExtendOutcome, Holder, Lease, LockOutcome, Token, UnlockOutcome};
#[cfg(feature = "run")]
pub use plugin::runner::{Program, ProgramExit, Runner};
pub use plugin::{LockerCtx, Operation, Scope, add_cache_to_linker, add_to_linker, add_to_linker_sync};
#[cfg(all(feature = "local", target_os = "linux"))]
pub use store::local::Local;
pub use store::memory::Memory;
pub use store::quorum::Quorum;
#[cfg(feature = "redis")]
pub use store::redis::Redis;
pub use store::{Cache, CacheError, ErrorKind, Finding, QuorumMember, Status};
pub use watch::Watch;

/// What a [`Cache`] stores and answers, by the names of the WIT interface `cache`.
pub mod cache {
    pub use crate::store::{
        Change, DeleteOutcome, Entry, ExtendOutcome, Revocation, SetOutcome, Stored, Vote, VoteOutcome,
    };
}

/// The seams at which a simulation replaces the outside world.
///
/// Time needs none: all of it is that of tokio's clock, which tests can pause, and all tasks run on the current runtime. The exceptions are
/// [`add_to_linker_sync`] and `Runner`, which have threads of their own.
///
/// This module names types of the redis crate, and changes with it: it is not part of what semantic versioning promises.
pub mod simulation {
    pub use crate::environment::Environment;
    #[cfg(all(feature = "local", target_os = "linux"))]
    pub use crate::store::local::Machine;
    #[cfg(feature = "redis")]
    pub use crate::store::redis::client::{Client, Connector, Push, Pushes};
    #[cfg(feature = "redis")]
    pub use crate::store::redis::scripts;
}

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
