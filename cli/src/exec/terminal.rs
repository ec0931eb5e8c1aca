//! The foreground of the controlling terminal: the process group that may read from it, and that its keys reach.

use std::fs::File;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal, killpg};
use nix::unistd::{Pid, tcgetpgrp, tcsetpgrp};

/// Whether there is a controlling terminal.
pub(super) fn is_there() -> bool {
    open().is_some()
}

/// Passes the foreground from one process group to another. Returns whether it was passed: not if a third group has it.
pub(super) fn pass(from: Pid, to: Pid) -> bool {
    let Some(terminal) = open() else { return false };
    let has_it = |group| group == from || killpg(group, None) == Err(Errno::ESRCH);
    if !tcgetpgrp(&terminal).is_ok_and(has_it) {
        return false;
    }
    // The system stops a process in the background that does this, unless it blocks the signal.
    let Ok(mask) = SigSet::from(Signal::SIGTTOU).thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_BLOCK) else {
        return false;
    };
    let passed = tcsetpgrp(&terminal, to).is_ok();
    _ = mask.thread_set_mask();
    passed
}

fn open() -> Option<File> {
    File::open("/dev/tty").ok()
}
