//! Holding a lock for the rest of a script.

use nix::sys::signal::Signal;
use rstest::rstest;

use crate::harness::{Backend, Command, HeldLock, LONG, Ran, RedisServer, Store, granted, send, until};

/// A script on this store.
fn script(store: &Store, shell: &str, text: &str) -> Command {
    Command::script(shell, text).env("LOCKER_CACHE", &store.name())
}

/// Runs a script on this store.
async fn run(store: &Store, shell: &str, text: &str) -> Ran {
    script(store, shell, text).run().await
}

/// Waits until a keeper whose shell has ended has released the lock.
async fn until_free(store: &Store) {
    until(async || store.entry("job").await.is_none()).await;
}

#[rstest]
#[tokio::test]
async fn the_lock_is_held_until_the_script_ends_and_not_longer(
    #[values("bash", "dash")] shell: &str,
    #[values(Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    let text = "set -e; locker hold job --ttl 1h --owner me >token; locker status job; exit 3";
    let folder = tempfile::tempdir().unwrap();
    let ran = script(&store, shell, text).current_dir(folder.path()).run().await;
    assert!(ran.code == Some(3) && ran.stdout.starts_with(r#"held by "me" for 59m"#), "{ran:?}");
    until_free(&store).await;
}

#[rstest]
#[tokio::test]
async fn the_lock_is_renewed_while_the_script_works(#[values(Backend::Local, Backend::Redis)] backend: Backend) {
    let store = backend.start().await;
    let text = "fence() { locker status job --json | grep -o 'fence\":[0-9]*'; }
        locker hold job --ttl 1s >/dev/null; fence; sleep 3; fence";
    let ran = run(&store, "bash", text).await;
    let fences: Vec<_> = ran.stdout.lines().collect();
    assert!(fences.len() == 2 && fences[0] == fences[1], "{ran:?}");
}

#[rstest]
#[case::substitution("token=$(locker hold job --ttl 1h --pid $$)")]
#[case::substitution_with_errors("token=$(locker hold -q job --ttl 1h --pid $$ 2>&1)")]
#[case::pipeline("token=$(locker hold job --ttl 1h --pid $$ | cat)")]
#[case::function("f() { locker hold job --ttl 1h --pid $$; true; }; token=$(f)")]
#[tokio::test]
async fn the_token_can_be_captured_and_used(#[values("bash", "dash")] shell: &str, #[case] capture: &str) {
    let store = Backend::Redis.start().await;
    let text = format!("{capture}; locker extend job \"$token\" --ttl 2h; locker unlock job \"$token\"; trap '' TERM");
    let ran = run(&store, shell, &text).await;
    assert!(ran.code == Some(0) && ran.stderr.contains("was released"), "{ran:?}");
}

#[rstest]
#[case::pipeline("bash", "locker hold job | cat & wait; token=$(locker hold job | cat); echo on")]
#[case::with_errors("bash", "token=$(locker hold job 2>&1); echo $token; echo on")]
#[case::function("dash", "f() { locker hold job; true; }; token=$(f); echo on")]
#[tokio::test]
async fn no_token_is_given_to_a_script_whose_lock_would_end_at_once(#[case] shell: &str, #[case] text: &str) {
    let ran = run(&Backend::Local.start().await, shell, text).await;
    let said = ran.stdout.clone() + &ran.stderr;
    assert!(said.contains("say --pid $$") && ran.stdout.ends_with("on\n"), "{ran:?}");
}

#[rstest]
#[tokio::test]
async fn a_subshell_holds_the_lock_for_a_part_of_a_script(#[values("bash", "dash")] shell: &str) {
    let store = Backend::Redis.start().await;
    let text = "(locker hold job --ttl 1h >/dev/null; locker status job)
        until locker status job | grep free; do sleep 0.02; done";
    let ran = run(&store, shell, text).await;
    assert!(ran.stdout.starts_with("held") && ran.stdout.ends_with("free\n"), "{ran:?}");
}

#[rstest]
#[tokio::test]
async fn a_script_can_release_the_lock_early_and_hold_it_again(
    #[values("bash", "dash")] shell: &str,
    #[values(Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    let text = "for i in 1 2 3; do
            locker hold job --ttl 1h >/dev/null || exit; locker hold --release job || exit; locker status job
        done; locker hold --release job; echo $?";
    let ran = run(&store, shell, text).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "free\nfree\nfree\n1\n"), "{ran:?}");
    assert!(ran.stderr.contains(r#""job" is not held for process"#), "{ran:?}");
}

#[tokio::test]
async fn an_early_release_is_that_of_the_name_and_the_shell() {
    let store = Backend::Redis.start().await;
    let text = "locker hold -q job >/dev/null; locker hold -q other >/dev/null
        locker hold -q --release third; echo $?; sh -c 'locker hold -q --release job; echo $?'
        sh -c 'locker hold -q --release job --pid $PPID; echo $?'; locker status job; locker status other --json";
    let ran = run(&store, "bash", text).await;
    assert!(ran.stdout.starts_with("1\n1\n0\nfree\n") && ran.stdout.contains(r#""outcome":"held""#), "{ran:?}");
}

#[tokio::test]
async fn an_early_release_of_a_lock_that_was_lost_says_so() {
    let server = RedisServer::start().await;
    let text = format!(
        "locker hold -q job --ttl 1h --on-lost ignore >/dev/null; redis-cli -p {} del lock:job; locker hold --release job; echo $?",
        server.port()
    );
    let ran = Command::script("bash", &text).env("LOCKER_CACHE", &server.url()).run().await;
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "1\n1\n"), "{ran:?}");
}

#[rstest]
#[tokio::test]
async fn a_lock_that_is_held_is_refused_to_another_script_and_to_the_same(
    #[values(Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    let text = "locker hold job --owner me >/dev/null; locker hold job; echo $?; bash -c 'locker hold job; echo $?'";
    let ran = run(&store, "bash", text).await;
    assert_eq!(ran.stdout, "75\n75\n", "{ran:?}");
    assert_eq!(ran.stderr.matches(r#""job" is held by "me""#).count(), 2, "{ran:?}");
}

#[tokio::test]
async fn a_script_can_wait_for_the_lock() {
    let held = HeldLock::start().await;
    let waiting = Command::script("bash", "locker hold job --wait 1h >/dev/null && locker status job");
    let waiting = waiting.env("LOCKER_CACHE", &held.server.url()).spawn();
    until(async || held.server.queued("job").await == 1).await;
    held.release().await;
    let ran = Ran::of(waiting).await;
    assert!(ran.code == Some(0) && ran.stdout.starts_with("held"), "{ran:?}");
}

#[rstest]
#[case::asked_to_stop(Signal::SIGTERM)]
#[case::interrupted(Signal::SIGINT)]
#[case::killed(Signal::SIGKILL)]
#[tokio::test]
async fn a_wait_that_ends_by_a_signal_leaves_the_queue(#[case] signal: Signal) {
    let held = HeldLock::start().await;
    let waiting = Command::script("bash", "exec locker hold job --wait 1h --pid $PPID");
    let waiting = waiting.env("LOCKER_CACHE", &held.server.url()).spawn();
    until(async || held.server.queued("job").await == 1).await;
    send(&waiting, signal);
    assert_eq!(Ran::of(waiting).await.signal, Some(signal));
    until(async || held.server.queued("job").await == 0).await;
}

#[tokio::test]
async fn a_wait_ends_with_its_shell() {
    let held = HeldLock::start().await;
    let shell = Command::script("bash", "locker hold job --wait 1h; true").env("LOCKER_CACHE", &held.server.url());
    let mut shell = shell.spawn();
    until(async || held.server.queued("job").await == 1).await;
    shell.kill().await.unwrap();
    until(async || held.server.queued("job").await == 0).await;
}

#[tokio::test]
async fn the_answer_can_be_json() {
    let store = Backend::Redis.start().await;
    let ran = run(&store, "bash", "locker hold job --json; true").await;
    let answer = ran.json();
    assert!(answer["outcome"] == "granted" && answer["token"].is_string() && answer["fence"].is_u64(), "{ran:?}");
    let held = granted(store.locker.lock("other", LONG).await);
    let ran = run(&store, "bash", "locker hold other --json; locker hold third --json --release; true").await;
    let outcomes: Vec<_> =
        ran.stdout.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()).collect();
    assert_eq!((&outcomes[0]["fence"], &outcomes[1]["outcome"]), (&held.fence.into(), &"absent".into()), "{ran:?}");
}

#[rstest]
#[case::memory("--cache memory", 78, "a lock in memory ends with its process")]
#[case::unavailable("--cache redis://127.0.0.1:1", 69, "cannot be reached")]
#[case::no_process("--pid 2147483647", 64, "no such process")]
#[case::no_number("--pid 0", 64, "invalid value")]
#[case::no_reaction("--on-lost kill", 64, "invalid value")]
#[case::release_with_options("--release --wait 1s", 64, "cannot be used with")]
#[case::another_session("--cache local:/nowhere", 64, "name the one that the lock is for")]
#[tokio::test]
async fn what_makes_no_sense_is_refused(#[case] options: &str, #[case] code: i32, #[case] reason: &str) {
    let start =
        if reason.contains("the one") { "setsid -w sh -c 'setsid locker hold job --cache local:/nowhere'" } else { "" };
    let text = if start.is_empty() { format!("locker hold job {options} </dev/null") } else { start.to_owned() };
    let ran = Command::script("bash", &format!("{text}; exit $?")).env("LOCKER_CACHE", "local:/nowhere").run().await;
    assert!(ran.code == Some(code) && ran.stderr.contains(reason) && ran.stdout.is_empty(), "{ran:?}");
}

#[rstest]
#[tokio::test]
async fn a_script_without_an_environment_can_hold_a_lock(#[values("bash", "dash")] shell: &str) {
    let store = Backend::Local.start().await;
    let text = format!("locker hold job --cache {0} >/dev/null; locker status job --cache {0}", store.name());
    let text = format!("env -i PATH=\"$PATH\" {shell} -c '{text}'; true");
    let ran = run(&store, "bash", &text).await;
    assert!(ran.code == Some(0) && ran.stdout.starts_with("held by another"), "{ran:?}");
    until_free(&store).await;
}

#[tokio::test]
async fn a_quorum_can_be_held() {
    let servers = [RedisServer::start().await, RedisServer::start().await, RedisServer::start().await];
    let urls = servers.each_ref().map(RedisServer::url).join(",");
    let text = "locker hold job --ttl 1h >/dev/null; locker status job";
    let ran = Command::script("bash", text).env("LOCKER_CACHE", &urls).run().await;
    assert!(ran.stdout.starts_with("held"), "{ran:?}");
    let status = async || Command::new(&["status", "job"]).env("LOCKER_CACHE", &urls).run().await;
    until(async || status().await.line() == "free").await;
}
