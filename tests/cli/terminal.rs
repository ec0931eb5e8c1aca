//! What a terminal shows.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rstest::rstest;
use tokio::task::JoinHandle;

use crate::harness::{Command, LONG, RedisServer, rogue, until};

/// A terminal and what a process has of it. Processes of other tests do not inherit it.
pub(super) fn terminal() -> (File, File) {
    let terminal = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let line =
        File::options().read(true).write(true).custom_flags(OFlag::O_NOCTTY.bits()).open(ptsname_r(&terminal).unwrap());
    (File::from(OwnedFd::from(terminal)), line.unwrap())
}

/// Runs `locker` with its words on a terminal, and answers what was seen there.
async fn seen(server: &RedisServer, arguments: &[&str]) -> String {
    let (mut terminal, line) = terminal();
    let mut command = Command::on(server, arguments).env("TERM", "xterm").into_std();
    let mut child = command.stderr(line).spawn().unwrap();
    // It holds the terminal open.
    drop(command);
    let mut seen = Vec::new();
    let reading = tokio::task::spawn_blocking(move || {
        // When the other end is closed, that is an error.
        _ = terminal.read_to_end(&mut seen);
        String::from_utf8_lossy(&seen).into_owned()
    });
    let seen = tokio::time::timeout(Duration::from_secs(60), reading).await.unwrap().unwrap();
    child.wait().unwrap();
    seen
}

#[tokio::test]
async fn a_wait_shows_who_holds_the_lock() {
    let server = RedisServer::start().await;
    Command::on(&server, &["lock", "job", "--owner", "backup", "--ttl", "1h"]).run().await;
    for arguments in [&["lock", "job", "--wait", "3s"][..], &["exec", "job", "--wait", "3s", "--", "true"]] {
        let seen = seen(&server, arguments).await;
        assert!(seen.contains(r#"waiting for "job", held by "backup" for 59m"#), "{seen}");
    }
}

#[tokio::test]
async fn a_wait_shows_nothing_to_those_who_want_quiet() {
    let server = RedisServer::start().await;
    Command::on(&server, &["lock", "job", "--ttl", "1h"]).run().await;
    assert_eq!(seen(&server, &["-q", "lock", "job", "--wait", "1s"]).await, "");
}

#[tokio::test]
async fn a_wait_shows_nothing_where_there_is_no_terminal() {
    let server = RedisServer::start().await;
    Command::on(&server, &["lock", "job", "--ttl", "1h"]).run().await;
    let ran = Command::on(&server, &["lock", "job", "--wait", "1s"]).run().await;
    assert!(!ran.stderr.contains("waiting"), "{ran:?}");
}

/// A shell on a terminal of its own, which is the controlling terminal.
pub(super) struct Session {
    shell: tokio::process::Child,
    keys: File,
    pub(super) seen: Arc<Mutex<String>>,
    reading: JoinHandle<()>,
    pub(super) server: RedisServer,
}

impl Session {
    /// Runs a script of bash, in which `locker` is the command under test.
    pub(super) async fn start(script: &str) -> Self {
        let (server, (keys, line)) = (RedisServer::start().await, terminal());
        let script = format!("locker() {{ '{}' \"$@\"; }}; {script}", Command::path("locker").display());
        let words = ["--ctty", "--wait", "bash", "-c", &script];
        let mut command = Command::of("setsid".into(), &words).env("LOCKER_CACHE", &server.url()).into_std();
        command.stdin(line.try_clone().unwrap()).stdout(line.try_clone().unwrap()).stderr(line);
        let shell = tokio::process::Command::from(command).kill_on_drop(true).spawn().unwrap();
        let seen = Arc::new(Mutex::new(String::new()));
        let (mut screen, shown) = (keys.try_clone().unwrap(), seen.clone());
        let reading = tokio::task::spawn_blocking(move || {
            let mut bytes = [0; 4096];
            while let Ok(read) = screen.read(&mut bytes) {
                shown.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..read]));
            }
        });
        Self { shell, keys, seen, reading, server }
    }

    pub(super) async fn until_seen(&self, text: &str) {
        until(async || self.seen.lock().unwrap().contains(text)).await;
    }

    pub(super) fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits for the end of the shell, and answers what was seen.
    async fn ended(mut self) -> String {
        tokio::time::timeout(LONG, self.shell.wait()).await.expect("it ends").unwrap();
        // No process holds the terminal any more.
        tokio::time::timeout(LONG, self.reading).await.expect("all have ended").unwrap();
        let seen = self.seen.lock().unwrap();
        seen.clone()
    }
}

const CTRL_C: &str = "\x03";
const CTRL_Z: &str = "\x1a";

#[rstest]
#[case::input_from_the_terminal("locker exec l$i -- sh -c 'echo begun; exec sleep 60'")]
#[case::input_from_a_pipe("echo | locker exec l$i -- sh -c 'echo begun; exec sleep 60'")]
#[case::foreground_of_its_own("echo | locker exec l$i -- sh -c 'stty -echo </dev/tty; echo begun; exec sleep 60'")]
#[tokio::test]
async fn one_ctrl_c_ends_a_loop(#[case] command: &str) {
    let mut session = Session::start(&format!("for i in 1 2 3; do {command}; done; echo after")).await;
    session.until_seen("begun").await;
    session.press(CTRL_C);
    let seen = session.ended().await;
    assert!(seen.matches("begun").count() == 1 && !seen.contains("after"), "{seen}");
}

#[tokio::test]
async fn one_ctrl_c_ends_a_loop_of_waiters() {
    let script = "locker lock -q job --ttl 1h; for i in 1 2 3; do locker exec job --wait 1h -- true; done; echo after";
    let mut session = Session::start(script).await;
    session.until_seen(r#"waiting for "job""#).await;
    session.press(CTRL_C);
    let seen = session.ended().await;
    assert!(!seen.contains("after"), "{seen}");
}

#[tokio::test]
async fn a_command_with_other_input_can_ask_the_terminal_and_gives_it_back() {
    let ask = "sh -c 'read data; read word </dev/tty; echo got $data $word'";
    let mut session =
        Session::start(&format!("echo data | locker exec job -- {ask}; read line; echo then $line")).await;
    session.press("word\n");
    session.until_seen("got data word").await;
    session.press("line\n");
    session.until_seen("then line").await;
}

/// Asks the terminal, though its input is a pipe, and tells who `locker` is.
const ASK: &str =
    "echo | locker exec job -- sh -c 'echo $PPID >id; echo asking >/dev/tty; read x </dev/tty'; echo after";

#[tokio::test]
async fn ctrl_c_ends_a_command_that_asks_the_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let mut session = Session::start(&format!("cd '{}'; {ASK}", folder.path().display())).await;
    session.until_seen("asking").await;
    session.press(CTRL_C);
    let seen = session.ended().await;
    assert!(!seen.contains("after"), "{seen}");
}

#[rstest]
#[tokio::test]
async fn a_signal_ends_a_command_that_asks_the_terminal(#[values(Signal::SIGTERM, Signal::SIGHUP)] signal: Signal) {
    let folder = tempfile::tempdir().unwrap();
    let session = Session::start(&format!("cd '{}'; {ASK}", folder.path().display())).await;
    session.until_seen("asking").await;
    let id = std::fs::read_to_string(folder.path().join("id")).unwrap();
    kill(Pid::from_raw(id.trim().parse().unwrap()), signal).unwrap();
    session.until_seen("after").await;
    assert_eq!(Command::on(&session.server, &["status", "job"]).run().await.line(), "free");
}

#[rstest]
#[case::input_from_the_terminal("locker exec job -- sh -c 'echo begun; exec sleep 60'")]
#[case::input_from_a_pipe("echo | locker exec job -- sh -c 'echo begun; exec sleep 60'")]
#[case::foreground_of_its_own("echo | locker exec job -- sh -c 'stty -echo </dev/tty; echo begun; exec sleep 60'")]
#[tokio::test]
async fn a_job_ends_with_its_terminal(#[case] command: &str) {
    let mut session = Session::start(command).await;
    session.until_seen("begun").await;
    // The end of a session hangs up its terminal.
    session.shell.kill().await.unwrap();
    until(async || Command::on(&session.server, &["status", "job"]).run().await.line() == "free").await;
}

#[tokio::test]
async fn a_lock_that_a_script_holds_ends_with_its_terminal() {
    let script = "set() { locker hold job --ttl 1h; }; set; locker status job; echo begun; read line; exit";
    let mut session = Session::start(script).await;
    session.until_seen("begun").await;
    assert!(session.seen.lock().unwrap().contains("held by another"));
    session.shell.kill().await.unwrap();
    until(async || Command::on(&session.server, &["status", "job"]).run().await.line() == "free").await;
    // The keeper does not hold the terminal open.
    session.ended().await;
}

#[tokio::test]
async fn ctrl_c_ends_a_wait_for_a_lock_that_a_script_is_to_hold() {
    let script = "locker lock -q job --ttl 1h; for i in 1 2 3; do locker hold job --wait 1h; done; echo after";
    let mut session = Session::start(script).await;
    session.until_seen("waiting").await;
    session.press(CTRL_C);
    let seen = session.ended().await;
    assert!(!seen.contains("after"), "{seen}");
}

#[tokio::test]
async fn a_job_under_nohup_outlives_its_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let job = "nohup locker exec job -- sh -c 'touch begun; until [ -e go ]; do sleep 0.02; done; touch done'";
    let job = job.replace("locker", Command::path("locker").to_str().unwrap());
    let script =
        format!("cd '{}'; {job} & until [ -e begun ]; do sleep 0.02; done; echo begun; wait", folder.path().display());
    let mut session = Session::start(&script).await;
    session.until_seen("begun").await;
    session.shell.kill().await.unwrap();
    std::fs::write(folder.path().join("go"), "").unwrap();
    until(async || folder.path().join("done").exists()).await;
    until(async || Command::on(&session.server, &["status", "job"]).run().await.line() == "free").await;
}

#[rstest]
#[case::its_own_group("echo | locker exec job -- sh -c 'WORK'")]
#[case::the_foreground("echo | locker exec job -- sh -c 'read x </dev/tty; WORK'")]
#[case::one_group("locker exec job -- sh -c 'WORK'")]
#[tokio::test]
async fn ctrl_z_stops_both_and_fg_continues_both(#[case] command: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    let file = |name| path.join(name);
    // It starts no process: a shell that waits for one to start cannot be stopped.
    let work = "echo $$ >id; echo begun; read x <pipe; echo done";
    let script = format!("{}; echo suspended; until [ -e go ]; do sleep 0.02; done; fg", command.replace("WORK", work));
    let script = format!("set -m; cd '{}'; mkfifo pipe; {script}", folder.path().display());
    let mut session = Session::start(&script).await;
    session.press("word\n");
    session.until_seen("begun").await;
    session.press(CTRL_Z);
    session.until_seen("suspended").await;
    let id = std::fs::read_to_string(file("id")).unwrap();
    until(async || std::fs::read_to_string(format!("/proc/{}/stat", id.trim())).unwrap().contains(") T ")).await;
    std::fs::write(file("go"), "").unwrap();
    tokio::task::spawn_blocking(move || std::fs::write(path.join("pipe"), "\n")).await.unwrap().unwrap();
    let seen = session.ended().await;
    assert!(seen.ends_with("done\r\n"), "{seen}");
}

#[tokio::test]
async fn a_plugin_cannot_forge_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rogue.wasm");
    std::fs::write(&file, rogue()).unwrap();
    let script = format!(r#"locker run '{}' -- say "$(printf 'a\033[1K\rlocker: b\tc')""#, file.display());
    let seen = Session::start(&script).await.ended().await;
    assert!(seen.ends_with("rogue: a\\u{1b}[1K\\rlocker: b\tc\r\n"), "{seen:?}");
}

#[tokio::test]
async fn a_terminal_shows_that_a_plugin_compiles() {
    let (folder, caches) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = folder.path().join("rogue.wasm");
    std::fs::write(&file, rogue()).unwrap();
    let variables = format!("export XDG_CACHE_HOME='{}'", caches.path().display());
    let seen = Session::start(&format!("{variables}; locker run '{}' -- say end", file.display())).await.ended().await;
    assert!(seen.contains("compiling") && seen.contains("rogue: end"), "{seen:?}");
}

#[rstest]
#[case::no("n", "code 1")]
#[case::yes("y", "code 0")]
#[tokio::test]
async fn taking_all_locks_of_an_owner_asks_first(#[case] answer: &str, #[case] code: &str) {
    let locks = "locker lock a --owner me; locker lock b --owner me";
    let mut session = Session::start(&format!("{locks}; locker unlock --owner me --all; echo code $?")).await;
    session.until_seen("Take these 2 locks from their holders?").await;
    session.press(answer);
    let seen = session.ended().await;
    assert!(seen.contains(r#""a" is held by "me""#) && seen.contains(code), "{seen}");
}
