//! What a lock must do, as sentences that run: against memory, against real Redis servers, and from the shell.
//!
//! # Layout
//!
//! - `harness`: starts stores and commands, and ends them.
//! - `chaos`: a program that starts thousands of commands, and stops and kills what belongs to them.
//! - `soak`: a program that goes on for as long as you like.
//! - `trials`: a program that repeats what a quorum must survive.
//! - `lock`: what a lock must do, on every store; `redis`: Redis and quorums; `local`: processes that share a local store; `cli`: the command; `plugin`: plugins and their sandbox.
//! - `model`: stores beside a model; `fuzz`: hostile input.
//! - `docs`, `book`: the documentation, and its book in a browser.
//! - `languages`: plugins and hosts in other languages than Rust.

#![cfg_attr(not(test), allow(dead_code, unused_imports, reason = "a soak needs a part of what tests need"))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "what fails here is a test")]

pub mod chaos;
mod harness;
pub mod soak;
pub mod trials;

#[cfg(test)]
mod book;
#[cfg(test)]
mod cli;
#[cfg(test)]
mod docs;
#[cfg(test)]
mod examples;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod languages;
#[cfg(test)]
mod local;
#[cfg(test)]
mod lock;
#[cfg(test)]
mod model;
#[cfg(test)]
mod plugin;
#[cfg(test)]
mod redis;
