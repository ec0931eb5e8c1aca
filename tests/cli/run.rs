//! Plugins that run from the shell.

use rstest::rstest;

use crate::harness::{Command, Ran, RedisServer, granted, held, rogue, send};
use locker_host::LockOptions;
use nix::sys::signal::Signal;

/// The rogue in a file of this name, run with these arguments.
async fn run(options: &[&str], words: &[&str]) -> Ran {
    let folder = tempfile::tempdir().unwrap();
    let file = file(folder.path(), "rogue.wasm");
    Command::new(&[&["run"], options, &[file.as_str(), "--"], words].concat()).run().await
}

fn file(folder: &std::path::Path, name: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, rogue()).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn each_line_comes_with_its_plugins_name_and_the_last_one_need_not_end() {
    let ran = run(&[], &["say", "one\ntwo\n\nthree"]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "rogue: one\nrogue: two\nrogue: \nrogue: three\n"));
    assert_eq!(ran.stderr, "");
}

#[rstest]
#[case::that_fails("fail", 1)]
#[case::that_traps("trap", 134)]
#[tokio::test]
async fn the_exit_code_is_that_of_a_plugin(#[case] word: &str, #[case] code: i32) {
    let ran = run(&["--instances", "3"], &[word]).await;
    assert_eq!(ran.code, Some(code), "{ran:?}");
}

#[tokio::test]
async fn a_plugin_that_goes_beyond_its_limits_is_stopped() {
    let ran = run(&["-W", "timeout=100ms"], &["loop"]).await;
    assert!(ran.code == Some(134) && ran.stderr.contains("rogue: it was stopped: its time is up"), "{ran:?}");
    let ran = run(&["-W", "max-memory-size=10000000"], &["allocate"]).await;
    assert!(ran.code == Some(134) && ran.stderr.contains("bytes more memory"), "{ran:?}");
}

#[tokio::test]
async fn instances_share_the_locks_of_their_plugin_and_what_one_has_left_is_released() {
    // Each waits until the one before has trapped.
    let ran = run(&["--instances", "3"], &["take-and-trap", "job"]).await;
    let mut lines: Vec<_> = ran.stdout.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["rogue#1: took job", "rogue#2: took job", "rogue#3: took job"]);
    assert_eq!(ran.stderr.matches("that it had left: 1").count(), 3, "{ran:?}");
}

#[tokio::test]
async fn plugins_have_namespaces_of_their_own_unless_they_are_given_one() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (file(folder.path(), "one.wasm"), file(folder.path(), "two.wasm"));
    let apart = Command::new(&["run", &one, &two, "--", "take", "job"]).run().await;
    assert_eq!(apart.stdout.matches("took job").count(), 2, "{apart:?}");
    let server = RedisServer::start().await;
    granted(server.locker().lock("shared/job", std::time::Duration::from_secs(60)).await);
    let together = Command::on(&server, &["run", "--namespace", "shared", &one, &two, "--", "take", "job"]).run().await;
    assert_eq!(together.stdout.matches("job is held").count(), 2, "{together:?}");
}

#[tokio::test]
async fn what_is_granted_is_granted() {
    let folder = tempfile::tempdir().unwrap();
    let dir = format!("{}::/data", folder.path().display());
    assert_eq!(run(&["--dir", &dir], &["write", "/data/file", "text"]).await.stdout, "rogue: Ok(())\n");
    assert_eq!(std::fs::read_to_string(folder.path().join("file")).unwrap(), "text");
    assert_eq!(run(&["--env", "A=b"], &["env"]).await.stdout, "rogue: [(\"A\", \"b\")]\n");
    let all = run(&["-S", "inherit-env"], &["env"]).await.stdout;
    assert!(all.contains("\"PATH\"") && !all.contains("LOCKER_CACHE"), "{all}");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    assert_eq!(run(&["-S", "inherit-network"], &["connect", &address]).await.stdout, "rogue: Ok(\"connected\")\n");
}

#[rstest]
#[case::no_file(&["run", "/nowhere.wasm"], 127, "No such file")]
#[case::no_component(&["run", "/etc/hostname"], 126, "cannot run /etc/hostname: it is not a WebAssembly component\n")]
#[case::input_for_two(&["run", "--stdin", "a.wasm", "b.wasm"], 64, "single plugin")]
#[case::no_number(&["run", "-W", "max-memory-size=64Q", "a.wasm"], 64, "no number of bytes")]
#[case::no_plugin(&["run"], 64, "PLUGIN.wasm")]
#[case::no_such_limit(&["run", "-W", "speed=1", "a.wasm"], 64, "max-memory-size")]
#[case::no_namespace(&["run", "--namespace", "a/b", "/etc/hostname"], 64, "--namespace")]
#[case::the_same_twice(&["run", "a.wasm", "a.wasm"], 127, "a.wasm")]
#[tokio::test]
async fn what_cannot_run_is_refused(#[case] arguments: &[&str], #[case] code: i32, #[case] words: &str) {
    let ran = Command::new(arguments).run().await;
    assert!(ran.code == Some(code) && ran.stderr.contains(words), "{ran:?}");
}

#[rstest]
#[case::a_core_module(b"\0asm\x01\0\0\0", "it is a core module, not a component: build it for wasm32-wasip2")]
#[case::the_component_itself(locker_host::COMPONENT, "it imports locker:locker/cache")]
#[tokio::test]
async fn a_file_that_is_no_plugin_is_refused_in_one_sentence(#[case] bytes: &[u8], #[case] words: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("some.wasm");
    std::fs::write(&path, bytes).unwrap();
    let ran = Command::new(&["run", path.to_str().unwrap()]).run().await;
    assert!(ran.code == Some(126) && ran.stderr.contains(words), "{ran:?}");
    assert_eq!(ran.stderr.lines().count(), 1);
}

#[tokio::test]
async fn a_plugin_reads_standard_input_only_if_it_is_granted() {
    let folder = tempfile::tempdir().unwrap();
    let file = file(folder.path(), "rogue.wasm");
    let read = async |options: &[&str]| {
        let arguments = [&["run"], options, &[&file, "--", "input"]].concat();
        Command::new(&arguments).run_with_input("some words").await.stdout
    };
    assert_eq!((read(&["--stdin"]).await, read(&[]).await), ("rogue: some words\n".into(), "rogue: \n".into()));
}

#[tokio::test]
async fn two_plugins_of_one_name_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = file(folder.path(), "one.wasm");
    let ran = Command::new(&["run", &file, &file]).run().await;
    assert!(ran.code == Some(64) && ran.stderr.contains("--instances"), "{ran:?}");
}

#[tokio::test]
async fn a_signal_ends_all_plugins_and_releases_their_locks() {
    let (server, folder) = (RedisServer::start().await, tempfile::tempdir().unwrap());
    let file = file(folder.path(), "rogue.wasm");
    let locker = server.locker();
    let lease = granted(locker.lock("rogue/job", LockOptions::default()).await);
    let waiting = Command::on(&server, &["run", &file, "--", "wait", "job"]).spawn();
    crate::harness::until(async || !server.channels().await.is_empty()).await;
    send(&waiting, Signal::SIGTERM);
    assert_eq!(Ran::of(waiting).await.signal, Some(Signal::SIGTERM));
    held(locker.lock("rogue/job", LockOptions::default()).await);
    locker.unlock("rogue/job", &lease.token).await.unwrap();
    assert!(locker.list().await.unwrap().is_empty());
}
