//! Takes turns with the other workers.

#[cfg(target_family = "wasm")]
mod worker;

#[cfg(target_family = "wasm")]
fn main() -> Result<(), String> {
    (0..5).try_for_each(|_| worker::take_turn())
}

/// It is a plugin: elsewhere it does nothing.
#[cfg(not(target_family = "wasm"))]
fn main() {}
