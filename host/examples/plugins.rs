//! Runs programs for wasi:cli, written in any languages, that share the locks of one host: in memory, or in the Redis of
//! `REDIS_URL`.
use locker_host::{Locker, LockerCtx, Memory, Redis, Scope, add_to_linker};
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{Engine, Result, Store};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView, p2};

struct State(LockerCtx, WasiCtx, ResourceTable);

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.1, table: &mut self.2 }
    }
}

async fn run(file: String, locker: Locker) -> Result<()> {
    let mut linker = Linker::new(&Engine::default());
    p2::add_to_linker_async(&mut linker)?;
    add_to_linker(&mut linker, |state: &mut State| &mut state.0)?;
    let component = Component::from_file(linker.engine(), file)?;
    let (locks, wasi) = (LockerCtx::new(&locker, Scope::new("shared")?), WasiCtx::builder().inherit_stdio().build());
    let mut store = Store::new(linker.engine(), State(locks, wasi, ResourceTable::new()));
    let plugin = p2::bindings::Command::instantiate_async(&mut store, &component, &linker).await?;
    plugin.wasi_cli_run().call_run(&mut store).await?.map_err(|()| wasmtime::format_err!("a plugin failed"))
}

#[tokio::main]
async fn main() -> Result<()> {
    let locker = match std::env::var("REDIS_URL") {
        Ok(url) => Locker::new(Redis::connect(&url).await?)?,
        Err(_) => Locker::new(Memory::default())?,
    };
    let plugins = std::env::args().skip(1).map(|file| run(file, locker.clone()));
    plugins.collect::<tokio::task::JoinSet<_>>().join_all().await.into_iter().collect()
}
