//! Jobs that run once per period.

use nix::sys::signal::Signal;
use rstest::rstest;

use crate::harness::{Backend, Command, LONG, Ran, RedisServer, send, until};

#[rstest]
#[tokio::test]
async fn a_job_that_succeeded_is_not_run_again_in_its_period(
    #[values(Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    let job = ["exec", "job", "--once-per", "1h", "--owner", "me", "--", "echo", "made"];
    assert_eq!(store.command(&job).run().await.line(), "made");
    let late = store.command(&job).run().await;
    assert_eq!((late.code, late.stdout.as_str()), (Some(75), ""));
    assert!(late.stderr.contains(r#""job" was done by "me" at 2"#) && late.stderr.contains(", next at 2"), "{late:?}");
    assert!(store.left("job").await > 59 * LONG);
}

#[rstest]
#[case::that_failed("false", 1)]
#[case::that_was_killed("kill -TERM $$", 143)]
#[case::that_is_not_found("exec /no/such/command", 127)]
#[tokio::test]
async fn a_job_leaves_its_period_to_another_node(#[case] work: &str, #[case] code: i32) {
    let store = Backend::Local.start().await;
    let job = |work: &str| store.command(&["exec", "job", "--once-per", "1h", "--", "sh", "-c", work]);
    let ran = job(work).run().await;
    assert_eq!(ran.code.or(ran.signal.map(|signal| 128 + signal as i32)), Some(code), "{ran:?}");
    assert_eq!(job("echo made").run().await.line(), "made");
}

#[tokio::test]
async fn a_node_that_waits_takes_over_from_one_that_failed() {
    let store = Backend::Local.start().await;
    let failing = store.command(&["exec", "job", "--once-per", "1h", "--", "sleep", "600"]).spawn();
    until(async || store.entry("job").await.is_some()).await;
    let waiting = store.command(&["exec", "job", "--once-per", "1h", "--wait", "1min", "--", "echo", "made"]).spawn();
    until(async || store.queued("job").await == 1).await;
    send(&failing, Signal::SIGTERM);
    assert_eq!(Ran::of(waiting).await.line(), "made");
}

#[tokio::test]
async fn a_program_can_tell_running_from_done() {
    let store = Backend::Local.start().await;
    let running = store
        .command(&["exec", "job", "--once-per", "1h", "--", "sh", "-c", STATUS])
        .env("LOCKER", &Command::path("locker").display().to_string())
        .run()
        .await
        .json();
    let late = store.command(&["exec", "job", "--once-per", "1h", "--json", "--", "true"]).run().await.json();
    let done = store.command(&["status", "job", "--json"]).run().await.json();
    assert!(running["outcome"] == "held" && running["done_ms"].is_null(), "{running}");
    for done in [late, done] {
        assert!(done["outcome"] == "done" && done["done_ms"].is_u64(), "{done}");
    }
}

#[tokio::test]
async fn a_period_may_be_longer_than_a_day() {
    let store = Backend::Local.start().await;
    let ran = store.command(&["exec", "job", "--once-per", "40days", "--", "true"]).run().await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(store.left("job").await.as_secs() > 39 * 24 * 60 * 60);
}

/// A job that marks its start with a folder, as many scripts do, or in Redis without an expiry, is killed: its mark stays.
#[rstest]
#[case::a_folder("mkdir mark || exit 75; kill -KILL $$; rmdir mark")]
#[case::a_key(
    "redis-cli -u $LOCKER_CACHE SET mark me NX | grep -q OK || exit 75; kill -KILL $$; redis-cli -u $LOCKER_CACHE DEL mark"
)]
#[tokio::test]
async fn a_crash_leaves_a_mark_for_ever_and_a_lock_until_it_expires(#[case] job: &str) {
    let (server, folder) = (RedisServer::start().await, tempfile::tempdir().unwrap());
    let marked =
        || Command::of("sh".into(), &["-c", job]).env("LOCKER_CACHE", &server.url()).current_dir(folder.path());
    assert_eq!(marked().run().await.signal, Some(Signal::SIGKILL));
    assert_eq!(marked().run().await.code, Some(75));
    Command::on(&server, &["lock", "job", "--ttl", "1s"]).run().await;
    let next = Command::on(&server, &["exec", "job", "--wait", "1min", "--", "echo", "made"]).run().await;
    assert_eq!(next.line(), "made");
}

/// Asks `locker` while the job runs.
const STATUS: &str = r#"exec "$LOCKER" status "$LOCKER_NAME" --json"#;

/// A scheduler starts a job on each node, and one of the clocks is behind. The job takes less time than that.
#[tokio::test]
async fn a_node_whose_clock_is_behind_runs_a_quick_job_again_without_a_period_and_not_with_one() {
    let server = RedisServer::start().await;
    let runs = async |options: &[&str]| {
        let exec = [&["exec", "job"], options, &["--", "echo", "made"]].concat();
        let (first, late) = (Command::on(&server, &exec).run().await, Command::on(&server, &exec).run().await);
        (first.stdout + &late.stdout).lines().count()
    };
    assert_eq!(runs(&[]).await, 2);
    assert_eq!(runs(&["--once-per", "1h"]).await, 1);
}
