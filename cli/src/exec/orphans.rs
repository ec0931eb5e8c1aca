//! The first process of a container is the parent of all processes that lose theirs, and the system keeps those until they are reaped.

use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

pub(super) fn adopts() -> bool {
    Pid::this() == Pid::from_raw(1)
}

/// Reaps the processes that have ended, except ours.
pub(super) fn reap(ours: &[Option<Pid>]) {
    let children = std::fs::read_to_string("/proc/self/task/1/children").unwrap_or_default();
    let children = children.split_whitespace().filter_map(|id| id.parse().ok()).map(Pid::from_raw);
    for orphan in children.filter(|child| !ours.contains(&Some(*child))) {
        _ = waitpid(orphan, Some(WaitPidFlag::WNOHANG));
    }
}
