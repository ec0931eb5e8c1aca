//! The rules of the lock, and the component made of them.
//!
//! # Layout
//!
//! - [`cache`]: what the rules ask of the store, in plain Rust.
//! - [`check`]: which names, labels, tokens and times are accepted.
//! - [`token`]: what proves that a caller holds a lock.
//! - [`lock`]: the lock itself.
//! - `component`: binds the rules to the WIT world, and
//! - `memory`: gives them an allocator; both exist on WebAssembly only.
//!
//! The rules know nothing of WebAssembly or WIT, so that they can be tested and measured as native code.

#![cfg_attr(target_family = "wasm", no_std)]

extern crate alloc;

pub mod cache;
pub mod check;
pub mod lock;
pub mod token;

#[cfg(target_family = "wasm")]
mod component;
#[cfg(target_family = "wasm")]
mod memory;
