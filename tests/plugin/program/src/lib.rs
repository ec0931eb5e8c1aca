//! A plugin that does with locks what tests tell it, good or evil.

#![cfg(target_family = "wasm")]

#[cfg(feature = "cache")]
mod cache;
#[cfg(not(feature = "cache"))]
mod locker;
