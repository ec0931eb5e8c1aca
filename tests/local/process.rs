//! A process that shares the store, and does what it is told.

use std::path::Path;
use std::process::Stdio;

use nix::sys::signal::Signal;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};

use crate::harness::{Command, send};

pub(super) struct Process {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Process {
    pub(super) fn start(folder: &Path) -> Self {
        Self::of(Command::program("local-process", &[folder.to_str().unwrap()]))
    }

    pub(super) fn of(command: Command) -> Self {
        let mut command = tokio::process::Command::from(command.into_std());
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, input, output: BufReader::new(output).lines() }
    }

    pub(super) async fn tell(&mut self, command: &str) {
        self.input.write_all(format!("{command}\n").as_bytes()).await.unwrap();
    }

    /// What it answers next.
    pub(super) async fn answer(&mut self) -> String {
        self.output.next_line().await.unwrap().expect("the process has not ended")
    }

    pub(super) async fn ask(&mut self, command: &str) -> String {
        self.tell(command).await;
        self.answer().await
    }

    pub(super) fn signal(&self, signal: Signal) {
        send(&self.child, signal);
    }

    /// Ends it at once.
    pub(super) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Lets it end by itself, and answers whether it did.
    pub(super) async fn end(self) -> std::process::ExitStatus {
        let Self { mut child, input, .. } = self;
        drop(input);
        child.wait().await.unwrap()
    }
}

/// A process of another user, after a script has prepared an empty `/run` and `/var/tmp`. It uses the store in a folder, or that of its user.
pub(super) fn of_user(user: &str, script: &str, folder: &str) -> Process {
    let program = Command::path("local-process");
    // The user may not read the folder that the program lies in.
    let script = format!(
        "mount -t tmpfs tmpfs /run && mount -t tmpfs -o mode=1777 tmpfs /var/tmp && mount -t tmpfs tmpfs /mnt && cp {} /mnt && {script} && \
        exec env -i HOME=/nowhere TMPDIR=/nowhere setpriv --reuid={user} --regid={user} --clear-groups /mnt/local-process '{folder}'",
        program.display()
    );
    Process::of(Command::of("unshare".into(), &["--mount", "sh", "-ec", &script]))
}
