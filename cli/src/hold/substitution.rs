//! Recognises the subshell of `$(...)` or a pipeline. It ends long before its script, which would go on without the lock.

use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use nix::unistd::getppid;

/// Whether our caller is the fork of a shell, and has a pipe as its output that the shell does not have. Some shells fork none here.
pub(super) fn is_in_substitution() -> bool {
    /// What the system notes of a process that was forked and has not executed a program.
    const PF_FORKNOEXEC: u64 = 0x40;
    let caller = getppid().as_raw();
    let Some((parent, flags)) = parent_and_flags(caller) else { return false };
    let Some(ours) = output_of("self") else { return false };
    let is_theirs = output_of(&parent.to_string()).is_some_and(|theirs| is_same(&ours, &theirs));
    flags & PF_FORKNOEXEC != 0 && ours.file_type().is_fifo() && !is_theirs
}

/// The parent of a process, and what the system notes of it.
fn parent_and_flags(process: i32) -> Option<(u64, u64)> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name before it may contain anything.
    let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    Some((fields.get(1)?.parse().ok()?, fields.get(6)?.parse().ok()?))
}

fn output_of(process: &str) -> Option<Metadata> {
    std::fs::metadata(format!("/proc/{process}/fd/1")).ok()
}

fn is_same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}
