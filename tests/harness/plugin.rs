//! A plugin in an embedder's wasmtime, built from `tests/plugin/program`.

use std::sync::{LazyLock, OnceLock};

use locker_host::{LockerCtx, add_cache_to_linker, add_to_linker, add_to_linker_sync};
use wac_graph::types::Package;
use wac_graph::{CompositionGraph, EncodeOptions, plug};
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, Instance, Linker, ResourceType};
use wasmtime::{Engine, Store};

use super::command::wasm;

/// How a plugin comes by its locks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LinkMode {
    /// The embedder links `locker`.
    Locker,
    /// The plugin was composed with the component, and the embedder links `cache`.
    Cache,
    /// The plugin reaches for the `cache` itself, and the embedder links it.
    Force,
}

/// An instance of the plugin.
pub(crate) struct Embedded {
    store: Store<LockerCtx>,
    instance: Instance,
}

static ENGINE: LazyLock<Engine> = LazyLock::new(Engine::default);
static PLUGIN: LazyLock<Vec<u8>> = LazyLock::new(|| wasm("locker-test-plugin", &[]));
static FORCEFUL: LazyLock<Vec<u8>> = LazyLock::new(|| wasm("locker-test-plugin", &["--features", "cache"]));
static COMPOSED: LazyLock<Vec<u8>> = LazyLock::new(|| compose(&PLUGIN));

impl LinkMode {
    /// The plugin, compiled once.
    fn component(self) -> &'static Component {
        static COMPILED: [OnceLock<Component>; 3] = [const { OnceLock::new() }; 3];
        let (place, bytes) = match self {
            Self::Locker => (0, &PLUGIN),
            Self::Cache => (1, &COMPOSED),
            Self::Force => (2, &FORCEFUL),
        };
        COMPILED[place].get_or_init(|| Component::from_binary(&ENGINE, bytes).unwrap())
    }
}

impl Embedded {
    pub(crate) async fn start(link_mode: LinkMode, plugin: LockerCtx) -> Self {
        let mut linker = Linker::new(&ENGINE);
        match link_mode {
            LinkMode::Locker => add_to_linker(&mut linker, |plugin| plugin).unwrap(),
            LinkMode::Cache | LinkMode::Force => add_cache_to_linker(&mut linker, |plugin| plugin).unwrap(),
        }
        let component = component(&mut linker, link_mode.component());
        let mut store = Store::new(&ENGINE, plugin);
        let instance = linker.instantiate_async(&mut store, component).await.unwrap();
        Self { store, instance }
    }

    /// Tells the plugin what to do, and answers what it said, or how it trapped.
    pub(crate) async fn try_run(&mut self, words: &[&str]) -> wasmtime::Result<String> {
        let run = self.instance.get_typed_func::<(Vec<String>,), (String,)>(&mut self.store, "run")?;
        let words = words.iter().map(ToString::to_string).collect();
        Ok(run.call_async(&mut self.store, (words,)).await?.0)
    }

    pub(crate) async fn run(&mut self, words: &[&str]) -> String {
        self.try_run(words).await.unwrap()
    }
}

/// Does one thing with a plugin in a store that is used synchronously.
pub(crate) fn run_sync(plugin: LockerCtx, words: &[&str]) -> String {
    let mut linker = Linker::new(&ENGINE);
    add_to_linker_sync(&mut linker, |plugin| plugin).unwrap();
    let component = component(&mut linker, LinkMode::Locker.component());
    let mut store = Store::new(&ENGINE, plugin);
    let instance = linker.instantiate(&mut store, component).unwrap();
    let run = instance.get_typed_func::<(Vec<String>,), (String,)>(&mut store, "run").unwrap();
    run.call(&mut store, (words.iter().map(ToString::to_string).collect(),)).unwrap().0
}

/// The component, for a linker that now has all that it imports.
fn component<'a>(linker: &mut Linker<LockerCtx>, component: &'a Component) -> &'a Component {
    // The standard library of Rust asks for more than this plugin uses. What the embedder has linked must stay.
    for (name, import) in component.component_type().imports(&ENGINE) {
        let ComponentItem::ComponentInstance(import) = import.ty else { continue };
        if !name.starts_with("locker:") && !name.starts_with("wasi:random/random@") {
            let mut instance = linker.instance(name).unwrap();
            for (name, export) in import.exports(&ENGINE) {
                match export.ty {
                    ComponentItem::ComponentFunc(_) => {
                        instance.func_new(name, |_, _, _, _| wasmtime::bail!("not for this plugin")).unwrap();
                    }
                    ComponentItem::Resource(_) => {
                        instance.resource(name, ResourceType::host::<()>(), |_, _| Ok(())).unwrap();
                    }
                    _ => {}
                }
            }
        }
    }
    component
}

/// A program that does what its arguments tell it, mostly evil.
pub(crate) fn rogue() -> &'static [u8] {
    static ROGUE: LazyLock<Vec<u8>> = LazyLock::new(|| wasm("locker-test-rogue", &[]));
    &ROGUE
}

/// As `wac plug plugin.wasm --plug locker.wasm` does.
pub(crate) fn compose(plugin: &[u8]) -> Vec<u8> {
    let mut graph = CompositionGraph::new();
    let mut package = |name: &str, bytes: &[u8]| {
        let package = Package::from_bytes(name, None, bytes.to_vec(), graph.types_mut()).unwrap();
        graph.register_package(package).unwrap()
    };
    let (socket, locker) = (package("test:plugin", plugin), package("test:locker", locker_host::COMPONENT));
    plug(&mut graph, vec![locker], socket).unwrap();
    graph.encode(EncodeOptions::default()).unwrap()
}
