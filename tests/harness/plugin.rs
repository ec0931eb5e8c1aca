//! A plugin in an embedder's wasmtime, built from `tests/plugin`.

use std::path::PathBuf;
use std::sync::LazyLock;

use locker_host::{Plugin, add_cache_to_linker, add_to_linker, add_to_linker_sync};
use wac_graph::types::Package;
use wac_graph::{CompositionGraph, EncodeOptions, plug};
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, Instance, Linker, ResourceType};
use wasmtime::{Engine, Store};

use super::command::cargo;

/// How a plugin comes by its locks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum By {
    /// The embedder links `locker`.
    Locker,
    /// The plugin was composed with the component, and the embedder links `cache`.
    Cache,
}

/// An instance of the plugin.
pub(crate) struct Embedded {
    store: Store<Plugin>,
    instance: Instance,
}

static ENGINE: LazyLock<Engine> = LazyLock::new(Engine::default);
static PLUGIN: LazyLock<Vec<u8>> = LazyLock::new(build);
static COMPOSED: LazyLock<Vec<u8>> = LazyLock::new(compose);

impl Embedded {
    pub(crate) async fn start(by: By, plugin: Plugin) -> Self {
        let mut linker = Linker::new(&ENGINE);
        let bytes = match by {
            By::Locker => {
                add_to_linker(&mut linker, |plugin| plugin).unwrap();
                &PLUGIN
            }
            By::Cache => {
                add_cache_to_linker(&mut linker, |plugin| plugin).unwrap();
                &COMPOSED
            }
        };
        let component = component(&mut linker, bytes);
        let mut store = Store::new(&ENGINE, plugin);
        let instance = linker.instantiate_async(&mut store, &component).await.unwrap();
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
pub(crate) fn run_sync(plugin: Plugin, words: &[&str]) -> String {
    let mut linker = Linker::new(&ENGINE);
    add_to_linker_sync(&mut linker, |plugin| plugin).unwrap();
    let component = component(&mut linker, &PLUGIN);
    let mut store = Store::new(&ENGINE, plugin);
    let instance = linker.instantiate(&mut store, &component).unwrap();
    let run = instance.get_typed_func::<(Vec<String>,), (String,)>(&mut store, "run").unwrap();
    run.call(&mut store, (words.iter().map(ToString::to_string).collect(),)).unwrap().0
}

fn component(linker: &mut Linker<Plugin>, bytes: &[u8]) -> Component {
    let component = Component::from_binary(&ENGINE, bytes).unwrap();
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

fn build() -> Vec<u8> {
    let target = std::env::current_exe().unwrap().ancestors().nth(3).unwrap().join("plugin");
    let mut cargo = cargo();
    cargo.args(["build", "--quiet", "--package", "locker-test-plugin", "--target", "wasm32-wasip2"]);
    // Flags of the tests' build are for another target.
    cargo.args(["--profile", "component", "--target-dir"]).arg(&target).env_remove("RUSTFLAGS");
    assert!(cargo.status().unwrap().success(), "the plugin does not build");
    let built: PathBuf =
        [target.as_path(), "wasm32-wasip2/component/locker_test_plugin.wasm".as_ref()].iter().collect();
    std::fs::read(built).unwrap()
}

/// As `wac plug plugin.wasm --plug locker.wasm` does.
fn compose() -> Vec<u8> {
    let mut graph = CompositionGraph::new();
    let mut package = |name: &str, bytes: &[u8]| {
        let package = Package::from_bytes(name, None, bytes.to_vec(), graph.types_mut()).unwrap();
        graph.register_package(package).unwrap()
    };
    let (socket, locker) = (package("test:plugin", &PLUGIN), package("test:locker", locker_host::COMPONENT));
    plug(&mut graph, vec![locker], socket).unwrap();
    graph.encode(EncodeOptions::default()).unwrap()
}
