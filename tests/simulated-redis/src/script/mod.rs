//! Lua scripts.

mod convert;
mod engine;
mod library;

pub(crate) use engine::Engine;
