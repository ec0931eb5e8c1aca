//! What a lock must do, as sentences that run: against memory, against real Redis servers, and from the shell.
//!
//! # Layout
//!
//! - `harness`: starts stores and commands, and ends them.
//! - one module a topic; what is said of a lock runs on every store.
//! - `languages`: plugins and hosts in other languages than Rust.

#![cfg(test)]

mod harness;

mod cli;
mod cluster;
mod component;
mod contention;
mod events;
mod examples;
mod exec;
mod exec_lost;
mod expiry;
mod extend;
mod faults;
mod fence;
mod fuzz;
mod grant;
mod hold;
mod keys;
mod languages;
mod limits;
mod list;
mod model;
mod outage;
mod plugins;
mod quorum;
mod refusals;
mod release;
mod replicas;
mod rogues;
mod run;
mod sentinel;
mod storm;
mod terminal;
mod tls;
mod wait;
