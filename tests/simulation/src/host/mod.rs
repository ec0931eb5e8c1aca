//! The whole host in simulated processes, over the seams that [`locker_host::simulation`] names.
//!
//! Lockers, guards, renewals and retries are those that ship. The time is tokio's paused clock, and a seed determines a world.
//!
//! # Layout
//!
//! - `server`: a server that knows four scripts by what they take; `client`: its connections.
//! - `world`: processes on one runtime.

mod client;
mod server;
mod world;

pub use world::{HostProcess, HostWorld, in_host_world};
