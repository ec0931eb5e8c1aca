//! Plugins that try to break out: what they can do to others is nothing, and to their host is little.

use std::time::{Duration, Instant};

use locker_host::{Locker, LockerCtx, Memory, Program, ProgramExit, Runner, Scope};
use rstest::rstest;
use tokio::time::timeout;
use wasmtime_wasi::WasiCtx;

use crate::harness::{Backend, Embedded, LONG, LinkMode, granted, rogue, until, waiting_options};

fn scope() -> Scope {
    Scope::new("plugin").unwrap()
}

fn locker() -> Locker {
    Locker::new(Memory::default()).unwrap()
}

async fn forceful(locker: &Locker, scope: Scope) -> Embedded {
    Embedded::start(LinkMode::Force, LockerCtx::new(locker, scope)).await
}

#[rstest]
#[tokio::test]
async fn one_that_reaches_for_the_cache_finds_nothing_outside_its_namespace(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    let lease = granted(store.locker.lock("other/job", LONG).await);
    let mut rogue = forceful(&store.locker, scope()).await;
    for key in ["other/job", "../other/job", "lock:other/job", "\u{1f}fence{lock:other/job}", "}{", "\0", ""] {
        for words in [&["set", key, "v", "1000"][..], &["delete", key, lease.token.as_str()], &["get", key]] {
            let said = rogue.run(words).await;
            assert!(!said.contains(lease.token.as_str()) && said != "deleted", "{words:?}: {said}");
        }
    }
    assert_eq!(store.entry("other/job").await.unwrap().value, lease.token.as_str());
    let list = store.locker.list().await.unwrap();
    assert!(list.keys().all(|name| name == "other/job" || name.starts_with("plugin/")), "{list:?}");
}

#[rstest]
#[case::for_longer(&["set", "key", "value", "3600001"], "denied")]
#[case::for_ever(&["extend", "key", "value", "18446744073709551615"], "denied")]
#[case::for_no_time(&["set", "key", "value", "0"], "denied")]
#[case::a_big_value(&["set", "key", &"x".repeat(300), "1000"], "invalid")]
#[case::a_long_name(&["set", &"x".repeat(513), "value", "1000"], "invalid")]
#[case::a_name_that_is_too_long_with_its_namespace(&["set", &"x".repeat(506), "value", "1000"], "invalid")]
#[case::a_key_with_a_line(&["get", "a\nb"], "invalid")]
#[tokio::test]
async fn one_that_reaches_for_the_cache_is_bound_by_its_scope(#[case] words: &[&str], #[case] class: &str) {
    let locker = locker();
    let said = forceful(&locker, scope()).await.run(words).await;
    assert!(said.starts_with(&format!("{class}: ")), "{said}");
    assert!(locker.list().await.unwrap().is_empty());
}

#[tokio::test]
async fn what_is_stored_without_a_time_to_live_has_one() {
    let locker = locker();
    let said = forceful(&locker, scope().max_ttl(Duration::from_secs(7))).await.run(&["set", "a", "v", "none"]).await;
    let ms: u64 = said.strip_prefix("stored for ").unwrap().strip_suffix(" ms").unwrap().parse().unwrap();
    assert!((3500..=7000).contains(&ms), "{said}");
}

#[tokio::test]
async fn one_that_reaches_for_the_cache_holds_no_more_than_it_may() {
    let locker = locker();
    let mut rogue = forceful(&locker, scope().max_locks(2)).await;
    for key in ["a", "b", "c"] {
        rogue.run(&["set", key, "value", "60000"]).await;
    }
    assert_eq!(locker.list().await.unwrap().len(), 2);
    assert_eq!(rogue.run(&["delete", "a", "value"]).await, "deleted");
    assert!(rogue.run(&["set", "c", "value", "60000"]).await.starts_with("stored"));
}

#[rstest]
#[case(&["get", "key"])]
#[case(&["set", "key", "value", "1"])]
#[case(&["extend", "key", "value", "1"])]
#[case(&["delete", "key", "another"])]
#[case(&["set", "key", "value", "1", "1"])]
#[tokio::test]
async fn one_that_asks_too_often_is_refused(#[case] words: &[&str]) {
    let mut rogue = forceful(&locker(), scope().max_requests_per_second(20)).await;
    let mut said = String::new();
    for _ in 0..40 {
        said = rogue.run(words).await;
    }
    assert!(said.starts_with("denied: this plugin has made 20 requests"), "{said}");
}

#[tokio::test]
async fn one_that_may_ask_no_more_can_still_release_what_it_holds() {
    let mut rogue = forceful(&locker(), scope().max_requests_per_second(1)).await;
    assert!(rogue.run(&["set", "key", "value", "60000"]).await.starts_with("stored"));
    assert!(rogue.run(&["get", "key"]).await.starts_with("denied"));
    assert_eq!(rogue.run(&["delete", "key", "value"]).await, "deleted");
}

#[tokio::test]
async fn one_whose_wait_is_refused_is_not_in_the_queue() {
    let store = Backend::Memory.start().await;
    let mut rogue = forceful(&store.locker, scope().max_requests_per_second(1)).await;
    let lease = store.take("plugin/job", LONG).await;
    for words in [&["get", "job"][..], &["set", "job", "value", "60000", "60000"]] {
        rogue.run(words).await;
    }
    let waiter = store.waiter(&store.locker, "plugin/job", waiting_options()).await;
    store.locker.unlock("plugin/job", lease.token).await.unwrap();
    granted(timeout(LONG / 2, waiter).await.expect("it is the head of the queue").unwrap());
}

#[tokio::test]
async fn one_that_wants_all_randomness_of_the_world_is_stopped() {
    let error = forceful(&locker(), scope()).await.try_run(&["random", "18446744073709551615"]).await.unwrap_err();
    assert!(error.root_cause().to_string().contains("random bytes asked for"), "{error:?}");
}

#[rstest]
#[case::no_text(&["raw", "no text"], "utf-8")]
#[case::beyond_its_memory(&["raw", "4294967290", "100"], "out of bounds")]
#[case::more_than_its_memory(&["raw", "0", "4294967295"], "out of bounds")]
#[tokio::test]
async fn one_that_passes_what_is_no_text_of_its_own_is_stopped(#[case] words: &[&str], #[case] why: &str) {
    let locker = locker();
    let error = forceful(&locker, scope()).await.try_run(words).await.unwrap_err();
    assert!(error.root_cause().to_string().contains(why), "{error:?}");
    granted(locker.lock("job", LONG).await);
}

#[rstest]
#[tokio::test]
async fn a_name_of_many_megabytes_is_refused_and_does_no_harm(#[values("1000", "70000", "100000000")] bytes: &str) {
    let locker = locker();
    let (ended, said) = run(Runner::new().unwrap(), &locker, &["name-of", bytes]).await;
    assert!(matches!(ended, ProgramExit::Exited(0)) && said.contains("Invalid"), "{ended:?} {said}");
    granted(locker.lock("job", LONG).await);
}

/// Runs the rogue within a scope, and answers how it ended and what it wrote.
async fn run(runner: Runner, locker: &Locker, words: &[&str]) -> (ProgramExit, String) {
    let program = runner.load(rogue()).unwrap();
    start(&program, LockerCtx::new(locker, scope()), words).await
}

async fn start(program: &Program, locks: LockerCtx, words: &[&str]) -> (ProgramExit, String) {
    let output = wasmtime_wasi::p2::pipe::MemoryOutputPipe::new(1 << 20);
    let wasi = WasiCtx::builder().arg("rogue").args(words).stdout(output.clone()).build();
    let ended = timeout(LONG / 2, program.run(locks, wasi)).await.expect("it ends");
    (ended, String::from_utf8(output.contents().into()).unwrap())
}

#[tokio::test]
async fn one_that_loops_lets_others_work_and_is_stopped_when_its_time_is_up() {
    // On this one thread.
    let locker = locker();
    let runner = Runner::new().unwrap().max_time(Duration::from_millis(500));
    let looping = run(runner, &locker, &["loop"]);
    let working = async {
        for _ in 0..5 {
            let lease = granted(locker.lock("job", LONG).await);
            tokio::time::sleep(Duration::from_millis(10)).await;
            locker.unlock("job", &lease.token).await.unwrap();
        }
        Instant::now()
    };
    let started = Instant::now();
    let ((ended, _), worked) = tokio::join!(looping, working);
    assert!(matches!(ended, ProgramExit::TimedOut), "{ended:?}");
    assert!(worked - started < started.elapsed());
}

#[tokio::test]
async fn one_that_hoards_memory_is_stopped() {
    let (ended, _) = run(Runner::new().unwrap().max_memory(64 << 20), &locker(), &["allocate"]).await;
    let ProgramExit::Trapped(error) = ended else { panic!("{ended:?}") };
    assert!(error.to_string().contains("bytes more memory"), "{error}");
}

#[tokio::test]
async fn one_that_traps_leaves_its_locks_to_be_released() {
    let locker = locker();
    let (program, locks) = (Runner::new().unwrap().load(rogue()).unwrap(), LockerCtx::new(&locker, scope()));
    let another = locks.new_instance();
    granted(another.locker().lock("kept", LONG).await);
    let (ended, _) = start(&program, locks.clone(), &["take-and-trap", "job"]).await;
    assert!(matches!(&ended, ProgramExit::Trapped(error) if error.to_string().contains("unreachable")), "{ended:?}");
    assert_eq!(locks.release_all().await, 1);
    assert!(locker.list().await.unwrap().keys().eq(["plugin/kept"]), "what another instance holds is its own");
}

#[tokio::test]
async fn the_instances_of_a_plugin_share_what_they_may_hold() {
    let locks = LockerCtx::new(&locker(), scope().max_locks(1));
    granted(locks.locker().lock("a", LONG).await);
    assert!(locks.new_instance().locker().lock("b", LONG).await.is_err());
}

#[tokio::test]
async fn one_that_is_dropped_while_it_waits_takes_no_lock_later() {
    let store = Backend::Memory.start().await;
    let lease = store.take("plugin/job", LONG).await;
    let program = Runner::new().unwrap().load(rogue()).unwrap();
    let locks = LockerCtx::new(&store.locker, scope());
    let waiting = store.queue("plugin/job", async move { start(&program, locks, &["wait", "job"]).await }).await;
    waiting.abort();
    _ = waiting.await;
    until(async || store.queued("plugin/job").await == 0).await;
    store.locker.unlock("plugin/job", lease.token).await.unwrap();
    assert!(store.locker.list().await.unwrap().is_empty());
}

#[rstest]
#[case::files(&["read", "/etc/hostname"])]
#[case::the_folder_it_was_started_in(&["write", "file", "text"])]
#[case::the_network(&["connect", "127.0.0.1:6379"])]
#[tokio::test]
async fn nothing_is_granted_that_was_not_said(#[case] words: &[&str]) {
    let (ended, said) = run(Runner::new().unwrap(), &locker(), words).await;
    assert!(matches!(ended, ProgramExit::Exited(0)) && said.starts_with("Err("), "{said}");
}

#[test]
fn what_is_no_program_is_refused() {
    let runner = Runner::new().unwrap();
    for (bytes, words) in [(&b"text"[..], "magic"), (locker_host::COMPONENT, "locker:locker/cache")] {
        let error = runner.load(bytes).err().unwrap();
        assert!(error.kind() == locker_host::ErrorKind::Invalid && error.to_string().contains(words), "{error}");
    }
}

#[tokio::test]
async fn a_rogue_that_never_stops_asking_does_not_stop_others() {
    let locker = locker();
    let mut rogue = forceful(&locker, scope()).await;
    let asking = tokio::spawn(async move { rogue.run(&["ask without end", "key"]).await });
    until(async || asking.is_finished()).await;
    assert!(asking.await.unwrap().starts_with("denied: this plugin has made 1000 requests"));
    granted(locker.lock("job", LONG).await);
}
