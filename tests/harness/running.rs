//! A command that runs under a lock, and tells whether it lives.

use std::io::{PipeReader, PipeWriter, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::process::Child;
use tokio::time::sleep;

use super::{Command, Ran, RedisServer, until};

/// A command under a lock on a server of its own. It says that it lives, again and again, until it does not.
pub(crate) struct Running {
    pub(crate) server: RedisServer,
    pub(crate) locker: Child,
    folder: TempDir,
}

/// Beats as long as it lives, and so does a process that it started. Notes who it is, and whether it was asked to stop.
pub(crate) const BEATING: &str = "
    cd $0; echo $$ > id
    trap 'touch asked; exit 3' TERM
    sh -c 'while :; do touch beat.below; sleep 0.02; done' &
    while :; do touch beat; sleep 0.02; done";

/// The same, but it does not stop when it is asked to.
pub(crate) const STUBBORN: &str = "
    cd $0; echo $$ > id
    trap 'touch asked' TERM
    sh -c 'trap \"\" TERM; while :; do touch beat.below; sleep 0.02; done' &
    while :; do touch beat; sleep 0.02; done";

impl Running {
    pub(crate) async fn start(script: &str, options: &[&str]) -> Self {
        Self::start_with_ttl("1s", script, options).await
    }

    pub(crate) async fn start_with_ttl(ttl: &str, script: &str, options: &[&str]) -> Self {
        let server = RedisServer::start_with(|_| ["--appendonly", "yes"].map(str::to_owned).into()).await;
        let folder = tempfile::tempdir().unwrap();
        let command = ["--", "sh", "-c", script, folder.path().to_str().unwrap()];
        let exec = Command::on(&server, &[&["exec", "job", "--ttl", ttl], options, &command].concat());
        Self::started(server, exec.spawn(), folder).await
    }

    /// Starts it with standard error on a pipe that is full, and that no one reads from.
    pub(crate) async fn start_with_full_stderr(script: &str, options: &[&str]) -> (Self, PipeReader) {
        let (server, folder) = (RedisServer::start().await, tempfile::tempdir().unwrap());
        // A shell has something to say about what was killed.
        let script = format!("exec 2>/dev/null; {script}");
        let command = ["--", "sh", "-c", &script, folder.path().to_str().unwrap()];
        let exec = Command::on(&server, &[&["exec", "job"], options, &command].concat());
        let (reader, pipe) = full_pipe();
        let locker = exec.spawn_with_stderr(pipe);
        (Self::started(server, locker, folder).await, reader)
    }

    async fn started(server: RedisServer, locker: Child, folder: TempDir) -> Self {
        let running = Self { server, locker, folder };
        until(async || running.file("beat").exists() && running.file("beat.below").exists()).await;
        running
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Whether the command was asked to stop.
    pub(crate) fn was_asked(&self) -> bool {
        self.file("asked").exists()
    }

    /// Whether neither the command nor what it started lives any more.
    pub(crate) async fn is_dead(&self) -> bool {
        let beats = || ["beat", "beat.below"].map(|name| modified(&self.file(name)));
        let before = beats();
        sleep(Duration::from_millis(150)).await;
        beats() == before
    }

    /// The command's process.
    pub(crate) fn command(&self) -> Pid {
        Pid::from_raw(std::fs::read_to_string(self.file("id")).unwrap().trim().parse().unwrap())
    }

    /// The processes that the runner has started, besides the command.
    pub(crate) fn guardians(&self) -> Vec<Pid> {
        let id = self.locker.id().unwrap();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
        let children = children.split_whitespace().map(|child| Pid::from_raw(child.parse().unwrap()));
        children.filter(|child| *child != self.command()).collect()
    }

    pub(crate) async fn take_away(&self) {
        assert_eq!(self.server.run::<u64>(&["DEL", "lock:job"]).await, 1);
    }

    /// Ends the command and all that it started, where a test has seen enough.
    pub(crate) async fn end(self) {
        _ = nix::sys::signal::killpg(self.command(), nix::sys::signal::Signal::SIGKILL);
        until(async || self.is_dead().await).await;
    }

    pub(crate) async fn ended(self) -> Ran {
        Ran::of(self.locker).await
    }
}

fn modified(file: &Path) -> std::time::SystemTime {
    file.metadata().unwrap().modified().unwrap()
}

/// A pipe that takes no more bytes.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    fcntl(writer.as_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
    while writer.write(&[0]).is_ok() {}
    fcntl(writer.as_fd(), FcntlArg::F_SETFL(OFlag::empty())).unwrap();
    (reader, writer)
}
