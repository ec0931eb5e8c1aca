//! The WIT world in Rust, generated.

#![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, reason = "generated; documented in the WIT")]

wasmtime::component::bindgen!({
    path: "wit",
    world: "component",
    imports: { "wasi:random/random": trappable, default: async },
    exports: { default: async },
});

/// What plugins import of us, where the embedder's stores are used asynchronously.
pub(crate) mod plugin {
    wasmtime::component::bindgen!({ path: "wit", world: "plugin", imports: { default: async } });
}

/// The same, where they are used synchronously.
pub(crate) mod blocking {
    wasmtime::component::bindgen!({ path: "wit", world: "plugin" });
}
