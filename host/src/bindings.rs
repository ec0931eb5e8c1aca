//! The WIT world in Rust, generated.

#![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, reason = "generated; documented in the WIT")]

wasmtime::component::bindgen!({
    path: "../wit",
    world: "component",
    imports: { "wasi:random/random": trappable, default: async },
    exports: { default: async },
});
