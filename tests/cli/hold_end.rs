//! How a lock that a script holds ends: with the shell, by a loss, or with its keeper.

use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rstest::rstest;
use tempfile::TempDir;
use tokio::process::Child;

use crate::harness::{Command, LONG, Ran, RedisServer, granted, send, until, waiting_options};

/// A script that holds a lock on a server of its own, and works until there is a file `go`.
struct Script {
    server: RedisServer,
    shell: Child,
    folder: TempDir,
    name: String,
}

impl Script {
    async fn start(shell: &str, options: &str) -> Self {
        Self::start_with(shell, options, "").await
    }

    /// Starts a script that does something more before it works.
    async fn start_with(shell: &str, options: &str, more: &str) -> Self {
        let (server, folder) = (RedisServer::start().await, tempfile::tempdir().unwrap());
        let name = format!("job-{}", server.port());
        let text = format!(
            "{more}\nlocker hold {name} {options} >/dev/null || exit\n\
            touch held; until [ -e go ]; do sleep 0.02; done; touch done"
        );
        let command = Command::script(shell, &text).current_dir(folder.path());
        let shell = command.env("LOCKER_CACHE", &server.url()).spawn();
        let script = Self { server, shell, folder, name };
        until(async || script.has("held")).await;
        script
    }

    fn has(&self, file: &str) -> bool {
        self.folder.path().join(file).exists()
    }

    fn go(&self) {
        std::fs::write(self.folder.path().join("go"), "").unwrap();
    }

    async fn is_held(&self) -> bool {
        self.server.stored(&self.name).await.is_some()
    }

    async fn take_away(&self) {
        assert_eq!(self.server.run::<u64>(&["DEL", &format!("lock:{}", self.name)]).await, 1);
    }

    /// The keepers of this script.
    async fn keepers(&self) -> Vec<Pid> {
        let ran = Command::of("ps".into(), &["-eo", "pid=,comm=,args="]).run().await;
        let of_this = |line: &&str| line.contains(" locker-keeper ") && line.contains(&format!("{} ", self.name));
        let id = |line: &str| Pid::from_raw(line.split_whitespace().next().unwrap().parse().unwrap());
        ran.stdout.lines().filter(of_this).map(id).collect()
    }

    async fn keeper(&self) -> Pid {
        let keepers = self.keepers().await;
        let [keeper] = keepers[..] else { panic!("there is one keeper: {keepers:?}") };
        keeper
    }

    async fn ended(self) -> Ran {
        Ran::of(self.shell).await
    }
}

#[rstest]
#[tokio::test]
async fn a_shell_that_ends_leaves_neither_lock_nor_keeper(
    #[values("bash", "dash")] shell: &str,
    #[values(None, Some(Signal::SIGKILL), Some(Signal::SIGTERM), Some(Signal::SIGHUP))] signal: Option<Signal>,
) {
    let mut script = Script::start(shell, "--ttl 1h").await;
    assert!(script.is_held().await && script.keepers().await.len() == 1);
    match signal {
        Some(signal) => send(&script.shell, signal),
        None => script.go(),
    }
    script.shell.wait().await.unwrap();
    until(async || !script.is_held().await && script.keepers().await.is_empty()).await;
}

#[tokio::test]
async fn a_program_in_the_place_of_the_shell_holds_the_lock() {
    let text = "trap 'exec sleep 60' USR1";
    let mut script = Script::start_with("bash", "--ttl 1h", text).await;
    send(&script.shell, Signal::SIGUSR1);
    let id = script.shell.id().unwrap();
    until(async || std::fs::read_to_string(format!("/proc/{id}/comm")).unwrap() == "sleep\n").await;
    assert!(script.is_held().await);
    script.shell.kill().await.unwrap();
    until(async || !script.is_held().await).await;
}

#[rstest]
#[tokio::test]
async fn a_shell_is_told_of_a_loss_and_can_trap_it(#[values("bash", "dash")] shell: &str) {
    let script = Script::start_with(shell, "--ttl 2s", "trap 'echo lost; exit 3' TERM").await;
    script.take_away().await;
    let name = script.name.clone();
    let ran = script.ended().await;
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(3), "lost\n"), "{ran:?}");
    let message = format!("lock {name:?}: it was lost: the cache has it no more: sent SIGTERM to process ");
    assert_eq!(ran.stderr.matches(&message).count(), 1, "{ran:?}");
}

#[tokio::test]
async fn a_shell_without_a_trap_dies_of_a_loss_with_a_message() {
    let script = Script::start("dash", "--ttl 2s").await;
    script.take_away().await;
    let ran = script.ended().await;
    assert!(ran.signal == Some(Signal::SIGTERM) && ran.stderr.contains("sent SIGTERM"), "{ran:?}");
}

#[tokio::test]
async fn a_shell_can_go_on_without_its_lock() {
    let script = Script::start("bash", "--ttl 2s --on-lost ignore").await;
    script.take_away().await;
    until(async || script.keepers().await.is_empty()).await;
    script.go();
    let ran = script.ended().await;
    assert!(ran.code == Some(0) && ran.stderr.contains("goes on without it"), "{ran:?}");
}

#[tokio::test]
async fn a_message_that_no_process_reads_holds_up_nothing() {
    // The pipe is full, and this shell keeps its reader open.
    let text = "mkfifo pipe; exec 3<>pipe 2>&3; dd if=/dev/zero bs=65536 count=1 >&3 2>/dev/null; trap 'exit 3' TERM";
    let script = Script::start_with("bash", "-q --ttl 2s", text).await;
    script.take_away().await;
    until(async || script.keepers().await.is_empty()).await;
    assert_eq!(script.ended().await.code, Some(3));
}

#[tokio::test]
async fn a_shell_whose_store_is_gone_is_told_before_another_can_hold_the_lock() {
    let mut script = Script::start_with("bash", "--ttl 3s", "trap 'touch told; exit 3' TERM").await;
    let locker = script.server.locker();
    kill(script.server.pid(), Signal::SIGSTOP).unwrap();
    script.shell.wait().await.unwrap();
    assert!(script.has("told"));
    kill(script.server.pid(), Signal::SIGCONT).unwrap();
    granted(locker.lock(&script.name, waiting_options()).await);
}

#[tokio::test]
async fn a_keeper_that_is_killed_lets_the_lock_expire() {
    let script = Script::start("bash", "--ttl 1s").await;
    kill(script.keeper().await, Signal::SIGKILL).unwrap();
    until(async || !script.is_held().await).await;
    script.go();
    let ran = script.ended().await;
    assert_eq!((ran.code, ran.signal), (Some(0), None), "{ran:?}");
}

#[tokio::test]
async fn a_keeper_ignores_signals_that_ask_for_its_end() {
    let mut script = Script::start("bash", "--ttl 1h").await;
    let keeper = script.keeper().await;
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT] {
        kill(keeper, signal).unwrap();
    }
    script.go();
    script.shell.wait().await.unwrap();
    until(async || !script.is_held().await && script.keepers().await.is_empty()).await;
}

#[tokio::test]
async fn a_keeper_leaves_files_and_folders_of_the_script_alone() {
    let open = "exec 9>file; flock 9";
    let script = Script::start_with("bash", "--ttl 1h", open).await;
    let proc = format!("/proc/{}", script.keeper().await);
    assert_eq!(std::fs::read_link(format!("{proc}/cwd")).unwrap(), Path::new("/"));
    let opened = Path::new(&proc).join("fd").read_dir().unwrap();
    let opened: Vec<_> = opened.filter_map(|fd| std::fs::read_link(fd.unwrap().path()).ok()).collect();
    let folder = script.folder.path().to_str().unwrap();
    let foreign = |path: &&std::path::PathBuf| path.starts_with(folder) || path.to_string_lossy().starts_with("pipe:");
    assert_eq!(opened.iter().filter(foreign).collect::<Vec<_>>(), Vec::<&std::path::PathBuf>::new());
}

#[tokio::test]
async fn a_shell_in_between_can_name_the_one_that_holds_the_lock() {
    let server = RedisServer::start().await;
    let text = "sh -c 'locker hold job --ttl 1h --pid '$$' >/dev/null; exit 0'; locker status job";
    let ran = Command::script("bash", text).env("LOCKER_CACHE", &server.url()).run().await;
    assert!(ran.code == Some(0) && ran.stdout.starts_with("held"), "{ran:?}");
    granted(server.locker().lock("job", locker_host::LockOptions::from(LONG).wait(LONG)).await);
}
