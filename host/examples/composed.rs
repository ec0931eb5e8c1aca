//! Runs a plugin that was composed with the component, and so needs nothing of its host but a cache and random bytes:
//!
//! ```sh
//! locker component --output locker.wasm
//! wac plug plugin.wasm --plug locker.wasm --output composed.wasm
//! composed composed.wasm
//! ```

use locker_host::{Locker, LockerCtx, Memory, Scope, add_cache_to_linker};
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{Engine, Result, Store};
use wasmtime_wasi::p2::bindings::Command;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView, p2};

/// What the plugin has: a cache, and standard output.
struct State {
    cache: LockerCtx,
    wasi: WasiCtx,
    table: ResourceTable,
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let file = std::env::args().nth(1).ok_or_else(|| wasmtime::format_err!("which plugin?"))?;
    let engine = Engine::default();
    let mut linker = Linker::new(&engine);
    p2::add_to_linker_async(&mut linker)?;
    add_cache_to_linker(&mut linker, |state: &mut State| &mut state.cache)?;

    let cache = LockerCtx::new(&Locker::new(Memory::default())?, Scope::new("plugin")?.max_locks(10));
    let state =
        State { cache: cache.clone(), wasi: WasiCtx::builder().inherit_stdio().build(), table: ResourceTable::new() };
    let mut store = Store::new(&engine, state);
    let component = Component::from_file(&engine, file)?;
    let plugin = Command::instantiate_async(&mut store, &component, &linker).await?;
    let ended = plugin.wasi_cli_run().call_run(&mut store).await;
    // However it ended, the locks that it has left are not left to others to wait for.
    println!("released {} locks", cache.release_all().await);
    ended?.map_err(|()| wasmtime::format_err!("the plugin failed"))
}
