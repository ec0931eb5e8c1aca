//! The metrics of a job in a file for the textfile collector of node_exporter.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::SystemTime;

use nix::sys::signal::Signal;
use rstest::rstest;
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::docs::recipe;
use crate::harness::{Backend, Command, HeldLock, LONG, Ran, RedisServer, Samples, granted, send, until};

/// A folder in which a job leaves its metrics.
struct Collected(TempDir);

impl Collected {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("job.prom")
    }

    /// The arguments of a job with more options and a command.
    fn exec<'a>(&self, words: &[&'a str]) -> Vec<&'a str> {
        let file: &'static str = self.path().to_str().unwrap().to_owned().leak();
        [&["exec", "job", "--metrics-file", file], words].concat()
    }

    fn read(&self) -> Samples {
        Samples::read(&std::fs::read_to_string(self.path()).unwrap())
    }

    /// Checks how the one call ended, and its exit code.
    #[track_caller]
    fn assert(&self, outcome: &str, ran: &Ran) {
        let (samples, code) = (self.read(), shell_code(ran));
        assert_eq!(samples.outcomes("job"), [(outcome.to_owned(), 1.0)], "{ran:?}");
        assert_eq!(exit_code(&samples), f64::from(code), "{ran:?}");
        let names: Vec<_> = self.0.path().read_dir().unwrap().map(|file| file.unwrap().file_name()).collect();
        assert_eq!(names, ["job.prom"]);
    }
}

fn exit_code(samples: &Samples) -> f64 {
    samples.of("job", "locker_job_exit_code", "")
}

/// The exit code as a shell shows it.
fn shell_code(ran: &Ran) -> i32 {
    ran.code.unwrap_or_else(|| 128 + ran.signal.unwrap() as i32)
}

fn now() -> f64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64()
}

#[rstest]
#[case::success(&["--", "true"], 0, "done")]
#[case::failure(&["--", "sh", "-c", "exit 7"], 7, "failed")]
#[case::exit_code_of_a_loss(&["--", "sh", "-c", "exit 74"], 74, "failed")]
#[case::exit_code_of_a_held_lock(&["--", "sh", "-c", "exit 75"], 75, "failed")]
#[case::death_by_a_signal(&["--", "sh", "-c", "kill -TERM $$"], 143, "failed")]
#[case::death_by_sigkill(&["--", "sh", "-c", "kill -KILL $$"], 137, "failed")]
#[case::no_such_command(&["--", "/no/such/command"], 127, "failed")]
#[case::no_program(&["--", "/etc/passwd"], 126, "failed")]
#[case::maximum_hold(&["--max-hold", "1s", "--", "sleep", "60"], 74, "lost")]
#[case::unavailable_store(&["--cache", "redis://127.0.0.1:1", "--", "true"], 69, "unavailable")]
#[case::misconfigured_store(&["--cache", "nonsense", "--", "true"], 78, "error")]
#[tokio::test]
async fn each_outcome_is_counted(#[case] words: &[&str], #[case] code: i32, #[case] outcome: &str) {
    let collected = Collected::new();
    let ran = Command::new(&collected.exec(words)).run().await;
    assert_eq!(shell_code(&ran), code, "{ran:?}");
    collected.assert(outcome, &ran);
}

#[tokio::test]
async fn a_leader_counts_as_a_job() {
    let collected = Collected::new();
    let file = collected.path();
    let lead = ["lead", "job", "--metrics-file", file.to_str().unwrap(), "--", "sh", "-c", "exit 7"];
    collected.assert("failed", &Command::new(&lead).run().await);
}

#[rstest]
#[case::with_the_usual_code(&[])]
#[case::with_a_code_of_its_own(&["-E", "0"])]
#[tokio::test]
async fn a_held_lock_is_counted_and_is_no_success(#[case] options: &[&str]) {
    let (held, collected) = (HeldLock::start().await, Collected::new());
    let words = collected.exec(&[options, &["--wait", "1s", "--", "true"]].concat());
    let ran = Command::on(&held.server, &words).run().await;
    collected.assert("held", &ran);
    let value = |name| collected.read().of("job", name, "");
    assert_eq!(value("locker_job_last_success_timestamp_seconds"), 0.0);
    assert!(value("locker_job_waited_seconds_total") >= 1.0 && value("locker_job_ran_seconds_total") == 0.0);
}

#[tokio::test]
async fn a_lock_that_is_taken_away_is_counted_as_lost() {
    let (server, collected) = (RedisServer::start().await, Collected::new());
    let words = collected.exec(&["--ttl", "2s", "--", "sleep", "60"]);
    let running = Command::on(&server, &words).spawn();
    until(async || server.run::<u64>(&["DEL", "lock:job"]).await == 1).await;
    let ran = Ran::of(running).await;
    assert_eq!(ran.code, Some(74), "{ran:?}");
    collected.assert("lost", &ran);
}

#[tokio::test]
async fn a_signal_that_ends_a_wait_is_counted() {
    let (held, collected) = (HeldLock::start().await, Collected::new());
    let waiting = Command::on(&held.server, &collected.exec(&["--wait", "1h", "--", "true"])).spawn();
    until(async || held.server.queued("job").await == 1).await;
    send(&waiting, Signal::SIGTERM);
    let ran = Ran::of(waiting).await;
    assert_eq!(ran.signal, Some(Signal::SIGTERM), "{ran:?}");
    collected.assert("interrupted", &ran);
}

#[tokio::test]
async fn counters_add_up_and_a_failure_keeps_the_time_of_the_last_success() {
    let (before, collected) = (now(), Collected::new());
    for _ in 0..3 {
        Command::new(&collected.exec(&["--", "sleep", "0.1"])).run().await;
    }
    let success = collected.read().of("job", "locker_job_last_success_timestamp_seconds", "");
    Command::new(&collected.exec(&["--", "false"])).run().await;
    let samples = collected.read();
    let value = |name| samples.of("job", name, "");
    assert_eq!(samples.outcomes("job"), [("done".to_owned(), 3.0), ("failed".to_owned(), 1.0)]);
    // A command is watched from just after its start.
    assert!(value("locker_job_ran_seconds_total") >= 0.29 && value("locker_job_last_run_seconds") < now() - before);
    assert_eq!((value("locker_job_last_success_timestamp_seconds"), exit_code(&samples)), (success, 1.0));
    // The file has milliseconds.
    assert!(success >= before - 0.001 && value("locker_job_last_attempt_timestamp_seconds") >= success);
}

#[rstest]
#[tokio::test]
async fn a_name_with_special_characters_is_escaped(#[values(r#"a"b\c{d="e"},"#, "Bücher 1", r"ends\")] name: &str) {
    let collected = Collected::new();
    let path = collected.path();
    for _ in 0..2 {
        let words = ["exec", name, "--metrics-file", path.to_str().unwrap(), "--", "true"];
        let ran = Command::new(&words).run().await;
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    }
    assert_eq!(collected.read().outcomes(name), [("done".to_owned(), 2.0)]);
}

#[tokio::test]
async fn other_users_can_read_the_file_unless_the_umask_forbids_it() {
    for (umask, mode) in [("022", 0o644), ("077", 0o600), ("000", 0o644)] {
        let collected = Collected::new();
        let script = format!(r#"umask {umask}; exec "$@""#);
        let locker = Command::path("locker");
        let words = [&["-c", &script, "sh", locker.to_str().unwrap()], &collected.exec(&["--", "true"])[..]].concat();
        Command::of("sh".into(), &words).run().await;
        assert_eq!(collected.path().metadata().unwrap().permissions().mode() & 0o777, mode, "umask {umask}");
    }
}

#[rstest]
#[tokio::test]
async fn jobs_that_end_at_once_are_all_counted_and_no_reader_sees_half_a_file(
    #[values(Backend::Local, Backend::Redis)] backend: Backend,
) {
    let (store, collected) = (backend.start().await, Collected::new());
    let mut jobs = JoinSet::new();
    for _ in 0..20 {
        jobs.spawn(store.command(&collected.exec(&["--wait", "1min", "--", "true"])).run());
    }
    let reads = async {
        until(async || collected.path().exists()).await;
        until(async || collected.read().outcomes("job") == [("done".to_owned(), 20.0)]).await;
    };
    let (ran, ()) = tokio::join!(jobs.join_all(), reads);
    assert!(ran.iter().all(|ran| ran.code == Some(0) && ran.stderr.is_empty()), "{ran:?}");
}

/// Runs a job whose file has this content, and answers what it said.
async fn warning(collected: &Collected, content: &str) -> String {
    std::fs::write(collected.path(), content).unwrap();
    let ran = Command::new(&collected.exec(&["--", "sh", "-c", "exit 7"])).run().await;
    assert_eq!(ran.code, Some(7), "{ran:?}");
    ran.stderr
}

#[rstest]
#[case::text("node_load1 0.5\n", "was not written by locker, and was left alone")]
#[case::another_lock(
    "# HELP locker_job_attempts_total x\nlocker_job_attempts_total{lock=\"a\",outcome=\"done\"} 1\n",
    "another lock"
)]
#[tokio::test]
async fn a_file_of_others_is_left_alone(#[case] content: &str, #[case] reason: &str) {
    let collected = Collected::new();
    let warning = warning(&collected, content).await;
    assert!(warning.lines().count() == 1 && warning.contains(reason), "{warning}");
    assert_eq!(std::fs::read_to_string(collected.path()).unwrap(), content);
}

#[tokio::test]
async fn a_damaged_file_is_replaced_with_a_warning() {
    let collected = Collected::new();
    Command::new(&collected.exec(&["--", "true"])).run().await;
    let half = std::fs::read_to_string(collected.path()).unwrap();
    let warning = warning(&collected, &half[..half.len() / 2]).await;
    assert!(warning.lines().count() == 1 && warning.contains("was damaged"), "{warning}");
    assert_eq!(collected.read().outcomes("job"), [("failed".to_owned(), 1.0)]);
}

#[tokio::test]
async fn an_empty_file_is_filled() {
    let collected = Collected::new();
    assert_eq!(warning(&collected, "").await, "");
    assert_eq!(collected.read().outcomes("job"), [("failed".to_owned(), 1.0)]);
}

#[rstest]
#[case::no_folder("/no/such/folder/job.prom")]
#[case::a_folder("/")]
#[case::a_device("/dev/null")]
#[tokio::test]
async fn a_file_that_cannot_be_written_is_one_warning(#[case] path: &str) {
    let words = ["exec", "job", "--metrics-file", path, "--", "sh", "-c", "exit 7"];
    let ran = Command::new(&words).run().await;
    assert_eq!((ran.code, ran.stderr.lines().count()), (Some(7), 1), "{ran:?}");
    assert!(ran.stderr.starts_with(&format!("locker: cannot write the metrics to {path}: ")), "{ran:?}");
}

#[tokio::test]
async fn a_pipe_in_the_place_of_the_file_holds_up_nothing() {
    let collected = Collected::new();
    nix::unistd::mkfifo(&collected.path(), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let ran = Command::new(&collected.exec(&["--", "true"])).run().await;
    assert!(ran.code == Some(0) && ran.stderr.contains("something else than a file"), "{ran:?}");
}

#[tokio::test]
async fn another_machine_that_has_the_lock_does_not_hide_the_success_of_this_one() {
    let (server, collected) = (RedisServer::start().await, Collected::new());
    Command::on(&server, &collected.exec(&["--", "true"])).run().await;
    let success = collected.read().of("job", "locker_job_last_success_timestamp_seconds", "");
    granted(server.locker().lock("job", LONG).await);
    Command::on(&server, &collected.exec(&["--", "true"])).run().await;
    assert_eq!(collected.read().of("job", "locker_job_last_success_timestamp_seconds", ""), success);
}

#[tokio::test]
async fn the_alerts_of_the_documentation_are_about_metrics_that_exist() {
    let collected = Collected::new();
    Command::new(&collected.exec(&["--", "true"])).run().await;
    let (rules, samples) = (recipe("docs/jobs.md", "/etc/prometheus/rules/jobs.yml"), collected.read());
    let words = rules.split(|char: char| !char.is_ascii_alphanumeric() && char != '_');
    let metrics: Vec<_> = words.filter(|word| word.starts_with("locker_")).collect();
    assert_eq!(metrics.len(), 3);
    metrics.into_iter().for_each(|metric| assert!(samples.of("job", metric, "") >= 0.0));
}
