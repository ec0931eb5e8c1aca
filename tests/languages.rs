//! The component in hosts of other languages, and plugins that were written in other languages.

use std::path::{Path, PathBuf};
use std::process;
use std::sync::LazyLock;

use rstest::rstest;

use crate::harness::{Command, Ran, RedisServer, key_of, wasm};

/// A file of the repository.
fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(path)
}

#[rstest]
#[tokio::test]
async fn a_host_gets_a_lock_from_the_component(#[values("node-host", "python-host")] host: &str) {
    let component = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&component, locker_host::COMPONENT).unwrap();
    let run = file("tests/languages").join(host).join("run");
    let ran = Command::of(run, &[component.path().to_str().unwrap()]).run().await;
    assert!(ran.code == Some(0) && ran.stdout.ends_with("\nan empty name is invalid\n"), "{ran:?}");
}

static WORKERS: LazyLock<[String; 3]> = LazyLock::new(|| {
    let built = process::Command::new(file("tests/languages/build")).status().unwrap();
    assert!(built.success(), "the workers do not build; tests/setup installs what this needs");
    let component = |language| file("target/languages").join(language).with_extension("wasm");
    std::fs::write(component("rust"), wasm("locker-test-worker", &[])).unwrap();
    ["javascript", "python", "rust"].map(|language| component(language).into_os_string().into_string().unwrap())
});

#[tokio::test]
async fn plugins_in_three_languages_take_turns() {
    let [javascript, python, rust] = WORKERS.each_ref().map(String::as_str);
    let ran = Command::new(&["run", "--namespace", "shared", javascript, python, rust]).run().await;
    took_turns(&ran, 15);
    for language in ["javascript", "python", "rust"] {
        let turns = ran.stdout.lines().filter(|line| line.starts_with(&format!("{language}: enter ")));
        assert_eq!(turns.count(), 5, "{ran:?}");
    }
}

#[tokio::test]
async fn an_embedder_runs_plugins_in_two_languages() {
    let [javascript, _, rust] = WORKERS.each_ref().map(String::as_str);
    took_turns(&Command::example("plugins", &[javascript, rust]).run().await, 10);
    let server = RedisServer::start().await;
    let on_redis = Command::example("plugins", &[javascript, rust]).env("REDIS_URL", &server.url());
    took_turns(&on_redis.run().await, 10);
    assert_eq!(server.keys().await, [key_of("fence", "shared/shared")], "they were locked there");
}

/// Asserts that each worker left before the next one entered, each with a higher fence.
#[track_caller]
fn took_turns(ran: &Ran, turns: usize) {
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(lines.len(), 2 * turns, "{ran:?}");
    let mut last = 0;
    for turn in lines.chunks(2) {
        let (who, fence) = turn[0].split_once("enter ").unwrap_or_else(|| panic!("{ran:?}"));
        assert_eq!(turn[1], format!("{who}leave {fence}"), "{ran:?}");
        let fence: u64 = fence.parse().unwrap();
        assert!(fence > last, "{ran:?}");
        last = fence;
    }
}
