//! What the simulation shows of the component, and that it would notice if it were otherwise.
//!
//! - `seeds`: worlds that are played from seeds; `small_worlds`: all that there are.
//! - `broken`: what must be caught.
//! - `host`: whole hosts that a test plays; `hosts`: worlds of whole hosts from seeds.

#![cfg(test)]

mod broken;
mod host;
mod hosts;
mod seeds;
mod small_worlds;
