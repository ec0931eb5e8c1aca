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
//! # Layout
//!
//! Data flows one way: caller, [`Locker`], component, [`Cache`].
//!
//! - `locker`: [`Locker`], what callers use; `options`: how they use it; `lease`: what it answers; `error`: what it
//!   answers when it cannot.
//! - `guard`: holding a lock while work is done; `renewal`: what keeps it; `list`: all locks; `events`: what is told.
//! - `sandbox`: runs the component within limits, in instances that are kept warm; `bindings` are its WIT in Rust.
//! - `call`: one call into the component, and what it may reach from there; `give_back`: what becomes of what it took
//!   if nobody learns of it; `queue`: who is next to be woken.
//! - `cache`: the trait [`Cache`]; `memory` and `redis` implement it, and `quorum` out of several. They know nothing
//!   of locks.

#![deny(missing_docs)]

mod bindings;
mod cache;
mod call;
mod error;
mod events;
mod give_back;
mod guard;
mod lease;
mod list;
mod locker;
mod memory;
mod options;
mod plugin;
mod queue;
mod quorum;
mod redis;
mod renewal;
mod sandbox;
mod scope;

pub use cache::{Cache, CacheError, Delete, Entry, Extend, Set, Stored};
pub use error::{Error, ErrorKind};
pub use guard::{Guard, Loss, Ran};
pub use lease::{Extended, Holder, Lease, Lock, Token, Unlock};
pub use locker::Locker;
pub use memory::Memory;
pub use options::{Limits, LockOptions};
pub use plugin::{Plugin, add_cache_to_linker, add_to_linker, add_to_linker_sync};
pub use quorum::Quorum;
pub use redis::Redis;
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
    include_str!("../../wit/world.wit"),
    "\n",
    include_str!("../../wit/locker.wit"),
    "\n",
    include_str!("../../wit/cache.wit"),
);

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
