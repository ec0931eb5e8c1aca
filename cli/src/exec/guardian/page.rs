//! What a runner, its guardian and its command share: a page of memory.
//!
//! The page has the newest state. Writing to it cannot queue up or block, and no signal can stop the writer.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering::SeqCst};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

/// Nanoseconds on the monotonic clock.
pub(crate) type Time = u64;

pub(crate) const NEVER: Time = Time::MAX;

/// The page of an earlier command: there is one command at a time.
static SPARE: Mutex<Option<&'static Page>> = Mutex::new(None);

#[repr(C)]
pub(crate) struct Page {
    /// The process of the command; 0 if there is none.
    command: AtomicI32,
    /// When the guardian asks the command to stop; never if it is not to ask, or no longer.
    stop: AtomicU64,
    /// When the guardian kills the command.
    kill: AtomicU64,
}

impl Page {
    /// A page that processes share which are forked from this one: one that was given back, or a new one.
    pub(super) fn take() -> nix::Result<&'static Self> {
        match SPARE.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(page) => Ok(page),
            None => Self::map(),
        }
    }

    /// Keeps a page that no other process uses any more for the next guardian.
    pub(super) fn keep_for_next(&'static self) {
        self.clear_command();
        self.set_deadlines(NEVER, NEVER);
        *SPARE.lock().unwrap_or_else(PoisonError::into_inner) = Some(self);
    }

    fn map() -> nix::Result<&'static Self> {
        let (size, access) =
            (NonZeroUsize::MIN.saturating_add(size_of::<Self>() - 1), ProtFlags::PROT_READ | ProtFlags::PROT_WRITE);
        // SAFETY: the mapping is new, aligned to a page and never unmapped. It is all zeros, which are valid atomics.
        let page: &Self = unsafe { mmap_anonymous(None, size, access, MapFlags::MAP_SHARED)?.cast().as_ref() };
        page.set_deadlines(NEVER, NEVER);
        Ok(page)
    }

    /// The deadlines are two words. If both move later, the guardian may see an old one for a moment, at which it acts only if that
    /// one has passed.
    pub(super) fn set_deadlines(&self, stop: Time, kill: Time) {
        self.kill.store(kill, SeqCst);
        self.stop.store(stop, SeqCst);
    }

    pub(super) fn stop(&self) -> Time {
        self.stop.load(SeqCst)
    }

    pub(super) fn kill(&self) -> Time {
        self.kill.load(SeqCst)
    }

    pub(super) fn command(&self) -> Option<Pid> {
        Some(self.command.load(SeqCst)).filter(|id| *id > 0).map(Pid::from_raw)
    }

    /// There is no command, or none any more.
    pub(super) fn clear_command(&self) {
        self.command.store(0, SeqCst);
    }

    /// Announces this process as the command, unless the lock counts as lost by then: to be called between fork and exec.
    ///
    /// The order matters. A guardian that finds no command here after a deadline knows that none starts under this deadline.
    pub(crate) fn announce_command(&self, lost_at: Time) -> nix::Result<()> {
        self.command.store(Pid::this().as_raw(), SeqCst);
        check(lost_at).inspect_err(|_| self.clear_command())
    }
}

/// What [`check`] says when the lock counts as lost. No system call that starts a program fails like this.
pub(crate) const TOO_LATE: Errno = Errno::ETIME;

/// Whether a lock that counts as lost then is held still. Safe to call between fork and exec.
pub(crate) fn check(lost_at: Time) -> nix::Result<()> {
    if now() < lost_at { Ok(()) } else { Err(TOO_LATE) }
}

/// An instant as this clock counts it. If the process is stopped on the way, it comes out too early, not too late.
pub(crate) fn time(instant: Instant) -> Time {
    let now = now();
    let left = instant.saturating_duration_since(Instant::now());
    now.saturating_add(nanos(left)).clamp(1, NEVER - 1)
}

pub(crate) fn now() -> Time {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(NEVER, |time| nanos(Duration::from(time)))
}

pub(super) fn nanos(duration: Duration) -> Time {
    u64::try_from(duration.as_nanos()).unwrap_or(NEVER)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "what fails here is a test")]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_announced_only_while_the_lock_is_held() {
        let page = Page::map().unwrap();
        assert_eq!(page.announce_command(0), Err(TOO_LATE));
        assert_eq!(page.command(), None);
        page.announce_command(time(Instant::now() + Duration::from_secs(60))).unwrap();
        assert_eq!(page.command(), Some(Pid::this()));
    }

    #[test]
    fn the_page_shows_the_newest_deadlines() {
        let page = Page::map().unwrap();
        assert_eq!((page.stop(), page.kill()), (NEVER, NEVER));
        page.set_deadlines(1, 2);
        assert_eq!((page.stop(), page.kill()), (1, 2));
    }
}
