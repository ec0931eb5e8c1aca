//! A process that uses a local store. It must neither die nor panic.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};

use crate::harness::Command;

pub(super) struct Process {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    errors: File,
}

impl Process {
    pub(super) fn start(folder: &Path) -> Self {
        let errors = tempfile::tempfile().unwrap();
        let command = Command::program("local-process", &[folder.to_str().unwrap()]).into_std();
        let mut command = tokio::process::Command::from(command);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors.try_clone().unwrap());
        let mut child = command.kill_on_drop(true).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, input, output: BufReader::new(output).lines(), errors }
    }

    pub(super) async fn tell(&mut self, command: &str) {
        // If the process has died, its answer tells.
        _ = self.input.write_all(format!("{command}\n").as_bytes()).await;
    }

    /// What it answers next.
    pub(super) async fn answer(&mut self) -> String {
        let Some(answer) = self.output.next_line().await.unwrap() else {
            let status = self.child.wait().await.unwrap();
            panic!("the process has died: {status}, {}", self.errors());
        };
        // The thread that uses the files hangs or has panicked.
        assert!(!answer.contains("did not answer"), "{answer} {}", self.errors());
        answer
    }

    pub(super) async fn ask(&mut self, command: &str) -> String {
        self.tell(command).await;
        self.answer().await
    }

    pub(super) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Lets it end by itself.
    pub(super) async fn end(mut self) {
        let errors = self.errors();
        let Self { mut child, input, .. } = self;
        drop(input);
        let status = child.wait().await.unwrap();
        assert!(status.success() && errors.is_empty(), "{status}, {errors}");
    }

    /// What it wrote to standard error, as a panic does.
    fn errors(&mut self) -> String {
        let mut errors = String::new();
        self.errors.rewind().unwrap();
        self.errors.read_to_string(&mut errors).unwrap();
        errors
    }
}

/// Whether the store refused, in one of the ways in which it may.
pub(super) fn is_refusal(answer: &str) -> bool {
    ["unavailable: ", "denied: "].iter().any(|kind| answer.starts_with(kind))
}
