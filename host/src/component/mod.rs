//! The component and its sandbox: instances, calls, and what a call may reach.
//!
//! - `operations`: the functions of the component, within limits. `context`: one call, which reaches the cache and random bytes.
//! - `sandbox`: runs instances; `pool`: keeps the idle ones; `compilation_cache`: keeps compiled code; `bindings`: the WIT in Rust.

pub(crate) mod bindings;
pub(crate) mod compilation_cache;
pub(crate) mod context;
pub(crate) mod operations;
mod pool;
mod sandbox;
