//! What a command receives from the process that started `locker`, and what `locker` itself does with it.

use std::path::PathBuf;

use nix::sys::signal::Signal;
use rstest::rstest;

use crate::harness::{Command, Ran, RedisServer, granted, rogue, send, until, waiting_options};

/// Shows the state of its process: signals, umask, folder, limits, descriptors and environment. Tests leak other descriptors.
const SHOW: &str = r#"
    grep -E '^(Sig(Blk|Ign)|Umask)' /proc/self/status; pwd; ulimit -a; ls /proc/$$/fd | grep -x '[01278]'
    env | grep -vE '^(LOCKER_(NAME|FENCE|TTL_MS|TOKEN_FILE)|_|SHLVL|PWD|OLDPWD)=' | sort"#;

const STATES: [(&str, &str); 9] = [
    ("nothing special", r#"exec "$@""#),
    ("signals that nohup and shells ignore", r#"exec env --ignore-signal=HUP,INT,QUIT "$@""#),
    ("signals that a supervisor ignores", r#"exec env --ignore-signal=PIPE,CHLD,TERM,USR1,TSTP,TTOU "$@""#),
    ("blocked signals", r#"exec env --block-signal=USR2,PIPE,WINCH,CHLD "$@""#),
    ("a umask", r#"umask 027; exec "$@""#),
    ("a folder", r#"cd /usr; exec "$@""#),
    ("limits", r#"ulimit -n 99; ulimit -c 0; exec "$@""#),
    ("descriptors", r#"exec 7</dev/null 8>/dev/null "$@""#),
    ("variables", r#"export A='a b' EMPTY=; exec "$@""#),
];

const WAYS: [(&str, &str); 4] = [
    ("in the foreground", r#""$@""#),
    ("with nohup", r#"nohup "$@""#),
    ("in the background", r#""$@" & wait $!"#),
    ("with input", r#"echo input | "$@""#),
];

#[tokio::test]
async fn the_command_receives_what_locker_received() {
    for (state, set) in STATES {
        for (way, start) in WAYS {
            let show = async |through: &[&str]| {
                let shell = ["-c", start, "sh", "sh", "-c", set, "sh"];
                let ran = Command::of(PathBuf::from("sh"), &[&shell[..], through, &["sh", "-c", SHOW]].concat());
                ran.run().await.stdout
            };
            let locker = Command::path("locker");
            let through = [locker.to_str().unwrap(), "exec", "job", "--"];
            assert_eq!(show(&through).await, show(&[]).await, "{state}, {way}");
        }
    }
}

#[rstest]
#[case::exec(&["exec", "p/job", "--wait", "1h", "--", "true"])]
#[case::lock(&["lock", "p/job", "--wait", "1h"])]
#[case::run(&["run", "--namespace", "p", "ROGUE", "--", "wait", "job"])]
#[tokio::test]
async fn signals_that_are_ignored_do_not_end_a_wait(#[case] arguments: &[&str]) {
    let (server, folder) = (RedisServer::start().await, tempfile::tempdir().unwrap());
    let file = folder.path().join("rogue.wasm");
    std::fs::write(&file, rogue()).unwrap();
    let arguments: Vec<_> =
        arguments.iter().map(|word| if *word == "ROGUE" { file.to_str().unwrap() } else { word }).collect();
    let locker = server.locker();
    let lease = granted(locker.lock("p/job", waiting_options()).await);
    let path = Command::path("locker");
    let words = [&["--ignore-signal=HUP,INT,QUIT", path.to_str().unwrap()], &arguments[..]].concat();
    let waiting = Command::of("env".into(), &words).env("LOCKER_CACHE", &server.url()).spawn();
    until(async || server.queued("p/job").await == 1).await;
    [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT].into_iter().for_each(|signal| send(&waiting, signal));
    locker.unlock("p/job", &lease.token).await.unwrap();
    let ran = Ran::of(waiting).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

/// Runs a command that does nothing under the lock. It may fail, in a sentence for each thing that it lacks.
async fn runs_or_says_why(words: &[&str], limit: u32) {
    let ran = Command::of(words[0].into(), &[&words[1..], &["exec", "job", "--", "true"]].concat()).run().await;
    assert!([Some(0), Some(70), Some(126)].contains(&ran.code), "{limit}: {ran:?}");
    assert!(!ran.stderr.contains("fault of locker") && !ran.stderr.contains("panicked"), "{limit}: {ran:?}");
    assert!(ran.stderr.lines().all(|line| line.starts_with("locker: ")), "{limit}: {ran:?}");
}

#[tokio::test]
async fn few_descriptors_are_reported_in_a_sentence() {
    let locker = Command::path("locker");
    for most in 4..20 {
        let script = format!(r#"ulimit -n {most}; exec "$@""#);
        runs_or_says_why(&["sh", "-c", &script, "sh", locker.to_str().unwrap()], most).await;
    }
}

#[tokio::test]
async fn few_processes_are_reported_in_a_sentence() {
    // The limit counts all processes of a user, and none of root's. This user has no others, and may not be able to read the folder.
    const LIMITED: &str = "import os, resource, sys; locker = os.open(sys.argv[2], os.O_RDONLY); \
        os.setgroups([]); os.setgid(64321); os.setuid(64321); \
        resource.setrlimit(resource.RLIMIT_NPROC, (int(sys.argv[1]),) * 2); \
        os.execve(locker, ['locker'] + sys.argv[3:], os.environ)";
    let locker = Command::path("locker");
    for most in 1..8 {
        let words = ["python3", "-c", LIMITED, &most.to_string(), locker.to_str().unwrap()];
        runs_or_says_why(&words, most).await;
    }
}

#[rstest]
#[case::list(&["list"])]
#[case::watch(&["status", "job", "--watch"])]
#[tokio::test]
async fn a_reader_that_has_seen_enough_ends_it_quietly(#[case] arguments: &[&str]) {
    let ran = Ran::of(Command::new(arguments).spawn_without_reader()).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(141), ""));
}
