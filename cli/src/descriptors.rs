//! The open files of a process that was forked from this one.

use std::os::fd::RawFd;

/// Closes all files but these, so that no other process waits for their end, and no lock on them lasts longer. Safe to call after a fork.
pub(crate) fn close_all_but(kept: &mut [RawFd]) {
    kept.sort_unstable();
    let mut first = 0;
    for kept in kept.iter().map(|kept| kept.cast_unsigned()) {
        if first < kept {
            close(first, kept - 1);
        }
        first = kept.saturating_add(1);
    }
    close(first, u32::MAX);
}

fn close(first: u32, last: u32) {
    // SAFETY: the callers use none of these files any more.
    _ = unsafe { nix::libc::syscall(nix::libc::SYS_close_range, first, last, 0) };
}
