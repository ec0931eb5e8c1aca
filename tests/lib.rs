//! What a lock must do, as sentences that run: against memory, against real Redis servers, and from the shell.
//!
//! # Layout
//!
//! - `harness`: starts stores and commands, and ends them.
//! - `chaos`: a program that starts thousands of commands, and stops and kills what belongs to them.
//! - `soak`: a program that goes on for as long as you like.
//! - `trials`: a program that repeats what a quorum must survive.
//! - one module a topic; what is said of a lock runs on every store.
//! - `languages`: plugins and hosts in other languages than Rust.

#![cfg_attr(not(test), allow(dead_code, unused_imports, reason = "a soak needs a part of what tests need"))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "what fails here is a test")]

pub mod chaos;
mod harness;
pub mod soak;
pub mod trials;

#[cfg(test)]
mod bench;
#[cfg(test)]
mod cli;
#[cfg(test)]
mod cluster;
#[cfg(test)]
mod code;
#[cfg(test)]
mod component;
#[cfg(test)]
mod contention;
#[cfg(test)]
mod docs;
#[cfg(test)]
mod events;
#[cfg(test)]
mod examples;
#[cfg(test)]
mod exec;
#[cfg(test)]
mod exec_guardian;
#[cfg(test)]
mod exec_late;
#[cfg(test)]
mod exec_lost;
#[cfg(test)]
mod expiry;
#[cfg(test)]
mod extend;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod fence;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod grant;
#[cfg(test)]
mod hold;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod languages;
#[cfg(test)]
mod late;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod list;
#[cfg(test)]
mod model;
#[cfg(test)]
mod orphans;
#[cfg(test)]
mod outage;
#[cfg(test)]
mod plugins;
#[cfg(test)]
mod protocol;
#[cfg(test)]
mod queue;
#[cfg(test)]
mod quorum;
#[cfg(test)]
mod quorum_members;
#[cfg(test)]
mod redis_queue;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod release;
#[cfg(test)]
mod replicas;
#[cfg(test)]
mod rogues;
#[cfg(test)]
mod run;
#[cfg(test)]
mod sentinel;
#[cfg(test)]
mod storm;
#[cfg(test)]
mod terminal;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod wait;
