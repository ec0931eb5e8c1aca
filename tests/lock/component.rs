//! The component as it ships.

use locker_host::COMPONENT;
use wasmtime::Engine;
use wasmtime::component::Component;

#[test]
fn it_imports_the_cache_and_random_bytes_and_nothing_else() {
    let engine = Engine::default();
    let component = Component::from_binary(&engine, COMPONENT).unwrap();
    let mut imports: Vec<_> = component.component_type().imports(&engine).map(|(name, _)| name.to_owned()).collect();
    imports.sort();
    assert_eq!(imports.len(), 2, "{imports:?}");
    assert_eq!(imports[0], "locker:locker/cache@0.1.0");
    assert!(imports[1].starts_with("wasi:random/random@0.2."), "{imports:?}");
}

#[test]
fn it_is_at_most_32_kilobytes() {
    assert!(COMPONENT.len() <= 32_000, "{} bytes", COMPONENT.len());
}

#[test]
fn it_tells_nothing_of_the_machine_that_built_it() {
    for path in [env!("CARGO_MANIFEST_DIR"), "/.cargo/", "/home/", "/root/", "/Users/"] {
        assert!(!COMPONENT.windows(path.len()).any(|window| window == path.as_bytes()), "{path}");
    }
}
