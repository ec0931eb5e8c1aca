//! A simulated Redis that runs the real Lua scripts on virtual time.
//!
//! A [`Server`] is a state machine: no sockets, no threads, no clock. The world that uses it sets its clock, calls commands for its clients,
//! and decides what becomes of the replies and of the messages to subscribers. One seed determines everything.
//!
//! - [`Server::call`] answers what the real server would, with the same texts. `tests/redis/fidelity` compares them.
//! - [`Server::take_pushes`] and [`Server::take_broadcasts`]: messages, which the world delivers, delays or loses.
//! - [`Server::follow`], [`Server::apply`] and [`Server::promote`]: replication, as far and as late as the world lets it happen.
//! - [`Server::set_cluster`], [`Server::migrate`]: a node's view of a cluster, and slots that move.
//! - [`Server::set_clock`], [`Server::set_condition`], [`Server::kill`] and more: faults.

mod acl;
mod call;
mod client;
mod cluster;
mod command;
mod commands;
mod controls;
mod glob;
mod keyspace;
mod number;
mod pushes;
mod replication;
mod script;
mod server;
mod state;
#[cfg(test)]
mod tests;
mod value;
mod version;

pub use client::ClientId;
pub use cluster::{Cluster, Node, SLOTS, slot_of};
pub use controls::Persistence;
pub use pushes::{Broadcast, Push};
pub use replication::{ReplicaId, Transaction};
pub use server::{Condition, Server};
pub use version::Version;
