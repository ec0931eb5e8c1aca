//! Any bytes as the command line: one argument a line.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use clap::Parser;
use tokio::time::timeout;

use super::driver::Corpus;
use super::{fuzz, shown};
use crate::harness::{Command, LONG};

/// The very parser of the command, which is no part of the library.
#[expect(dead_code, reason = "only the command makes use of what was parsed")]
#[path = "../../cli/src/args.rs"]
mod args;

fn arguments(bytes: &[u8]) -> impl Iterator<Item = OsString> {
    let lines = bytes.strip_suffix(b"\n").unwrap_or(bytes).split(|byte| *byte == b'\n');
    lines.map(|line| OsStr::from_bytes(line).to_owned())
}

#[tokio::test]
async fn any_arguments_are_parsed_or_refused() {
    fuzz("arguments", async |bytes| {
        let program = std::iter::once(OsString::from("locker"));
        if let Err(error) = args::Args::try_parse_from(program.chain(arguments(bytes))) {
            assert!(!shown(&error).is_empty());
        }
    })
    .await;
}

/// What is hand-made, as real processes: chance might find a command that does harm.
#[tokio::test]
async fn whatever_the_arguments_a_process_ends_as_documented() {
    let folder = tempfile::tempdir().unwrap();
    for input in Corpus::of("arguments").inputs {
        let mut command = tokio::process::Command::from(Command::new(&[]).into_std());
        // Bytes that are no text are not a fault here.
        command.args(arguments(&input)).current_dir(&folder).env("LOCKER_TOKEN", OsStr::from_bytes(b"\xff\x1b"));
        let output = timeout(LONG, command.kill_on_drop(true).output()).await.expect("it ends").unwrap();
        let (code, said) = (output.status.code(), String::from_utf8_lossy(&output.stderr));
        let documented = [0, 1, 64, 69, 74, 75, 78, 126, 127];
        assert!(
            code.is_some_and(|code| documented.contains(&code)) && !said.contains("panicked"),
            "{}: {code:?} {said}",
            input.escape_ascii()
        );
    }
}
