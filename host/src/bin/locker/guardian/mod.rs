//! A process that stops the command in time when we cannot: because we were killed, or stopped ourselves.
//!
//! It is forked from us before the command is, and hears through a pipe until when the lock is surely held. Once it hears
//! nothing more by then, or the pipe ends because we did, it stops the command as we would have done.

use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Result, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigHandler, Signal, kill, killpg, signal};
use nix::sys::wait::waitpid;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{ForkResult, Pid, close, fork, pipe2, setsid, unlink};

use crate::signals::OURS;

/// Our end of the guardian's pipe. Dropping it ends the guardian: when the command is gone, or was never there.
pub(crate) struct Guardian {
    id: Pid,
    pipe: File,
}

/// What the command's own process needs to say who it is.
pub(crate) struct Announcement(OwnedFd);

/// Nanoseconds on the monotonic clock.
type Time = u64;
const NEVER: Time = Time::MAX;

impl Guardian {
    /// Starts a guardian of a command that will have a process group of its own, or `shared` ours. It removes a file, should
    /// we not be there to do so.
    pub(crate) fn start(shared: bool, kill_after: Duration, file: Option<&Path>) -> Result<Self> {
        // Now: after the fork, nothing may be allocated.
        let file = file.and_then(|file| CString::new(file.as_os_str().as_bytes()).ok());
        // A guardian that does not read must not hold us up.
        let (its, ours) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        // SAFETY: from here on the new process only makes system calls that are safe after a fork, and never returns.
        match unsafe { fork() }? {
            ForkResult::Parent { child } => Ok(Self { id: child, pipe: File::from(ours) }),
            ForkResult::Child => {
                drop(ours);
                Watch { pipe: File::from(its), command: None, shared, kill_after, file, stop: NEVER, kill: NEVER }.run()
            }
        }
    }

    /// For the command's process, to be called there before it becomes the command.
    pub(crate) fn announcement(&self) -> Result<Announcement> {
        Ok(Announcement(self.pipe.as_fd().try_clone_to_owned()?))
    }

    /// Tells when the command is to be asked to stop, unless it was, and when it is to be killed.
    pub(crate) fn orders(&mut self, stop: Option<Instant>, kill: Instant) {
        self.say(stop.map_or(NEVER, time), time(kill));
    }

    fn say(&mut self, first: u64, second: u64) {
        // If it is gone, we still do what it would have done.
        _ = self.pipe.write_all(&word(first, second));
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        // Also if somebody stopped it. And nobody else may come to bury it.
        _ = kill(self.id, Signal::SIGKILL);
        _ = waitpid(self.id, None);
    }
}

impl Announcement {
    /// Tells the guardian that this process will be the command.
    pub(crate) fn make(&self) -> Result<()> {
        nix::unistd::write(&self.0, &word(0, u64::from(std::process::id())))?;
        Ok(())
    }
}

/// What the guardian hears: `(0, id)` for the command's process, else when to stop and to kill it.
fn word(first: u64, second: u64) -> [u8; 16] {
    let mut word = [0; 16];
    word[..8].copy_from_slice(&first.to_ne_bytes());
    word[8..].copy_from_slice(&second.to_ne_bytes());
    word
}

/// An instant as the guardian counts time. If we are stopped on the way, it comes out too early, not too late.
fn time(instant: Instant) -> Time {
    let now = now();
    let left = instant.saturating_duration_since(Instant::now());
    now.saturating_add(u64::try_from(left.as_nanos()).unwrap_or(NEVER)).clamp(1, NEVER - 1)
}

fn now() -> Time {
    clock_gettime(ClockId::CLOCK_MONOTONIC)
        .map_or(NEVER, |time| u64::try_from(Duration::from(time).as_nanos()).unwrap_or(NEVER))
}

/// The guardian itself.
struct Watch {
    pipe: File,
    command: Option<Pid>,
    shared: bool,
    kill_after: Duration,
    file: Option<CString>,
    stop: Time,
    kill: Time,
}

impl Watch {
    fn run(mut self) -> ! {
        // Out of reach of what is meant for us, and of what waits for our streams to end.
        _ = setsid();
        for ignored in OURS {
            // SAFETY: ignoring a signal runs no code.
            _ = unsafe { signal(ignored, SigHandler::SigIgn) };
        }
        _ = nix::sys::prctl::set_name(c"locker-guardian");
        for stream in 0..3 {
            _ = close(stream);
        }
        while self.hear() {
            self.act();
        }
        self.finish()
    }

    /// Waits for a word, or until there is something to do. Answers whether there can be more words.
    fn hear(&mut self) -> bool {
        let left = Duration::from_nanos(self.stop.min(self.kill).saturating_sub(now()));
        // Rounded up, so that what was waited for is due.
        let timeout = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
        let mut waiting = [PollFd::new(self.pipe.as_fd(), PollFlags::POLLIN)];
        if !matches!(poll(&mut waiting, timeout), Ok(1)) {
            return true;
        }
        let mut word = [[0; 8]; 2];
        let [first, second] = &mut word;
        // A word is written as a whole.
        if self.pipe.read_exact(first).and_then(|()| self.pipe.read_exact(second)).is_err() {
            return false;
        }
        match (u64::from_ne_bytes(*first), u64::from_ne_bytes(*second)) {
            (0, id) => self.command = i32::try_from(id).ok().map(Pid::from_raw),
            (stop, kill) => (self.stop, self.kill) = (stop, kill),
        }
        true
    }

    fn act(&mut self) {
        let now = now();
        if now >= self.kill {
            self.send(Signal::SIGKILL);
            leave();
        }
        if now >= self.stop {
            self.send(Signal::SIGTERM);
            self.stop = NEVER;
        }
    }

    /// Nobody else is there to stop the command.
    fn finish(&mut self) -> ! {
        if self.stop != NEVER {
            self.send(Signal::SIGTERM);
        }
        let patience = u64::try_from(self.kill_after.as_nanos()).unwrap_or(NEVER);
        let kill = self.kill.min(now().saturating_add(patience));
        while now() < kill && self.send(None) {
            std::thread::sleep(Duration::from_millis(20));
        }
        self.send(Signal::SIGKILL);
        self.file.as_deref().into_iter().for_each(|file| _ = unlink(file));
        leave()
    }

    /// Sends a signal to the command, and tells whether it is there.
    fn send(&self, signal: impl Into<Option<Signal>>) -> bool {
        let Some(command) = self.command else { return false };
        let sent = if self.shared { kill(command, signal) } else { killpg(command, signal) };
        sent.is_ok()
    }
}

/// Ends this process without running anything that belongs to the one that it was forked from.
fn leave() -> ! {
    // SAFETY: this call ends the process and touches nothing else.
    unsafe { nix::libc::_exit(0) }
}
