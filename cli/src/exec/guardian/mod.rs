//! A process that stops the command in time when we cannot: because we were killed, or stopped ourselves.
//!
//! It is forked before the command. It reads the deadlines of the lease in a page of memory that both share.
//! Once that time has passed, or we have ended, it stops the command as we would have done.
//!
//! `state` says what it does when; `page` is the memory.

mod page;
mod state;

use std::ffi::CString;
use std::io::{ErrorKind, Read, Result, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigHandler, Signal, kill, killpg, signal};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork, setsid, unlink};

pub(crate) use page::{Page, TOO_LATE, check, time};

use crate::descriptors::close_all_but;
use crate::signals::FORWARDED_SIGNALS;
use page::{NEVER, Time, nanos, now};
use state::{Action, Event, State};

/// Our side of the guardian. Dropping it ends the guardian: when the command is gone, or was never there.
pub(crate) struct Guardian {
    id: Pid,
    page: &'static Page,
    /// A byte in it wakes the guardian up; its end says that `locker` has died. A process between fork and exec has a copy of it, so the end
    /// comes only when no command can start any more.
    bell: UnixStream,
}

impl Guardian {
    /// Starts a guardian of a command that will have a process group of its own, or `shared` ours. It removes a file, should
    /// we not be there to do so.
    pub(crate) fn start(shared: bool, kill_after: Duration, file: Option<&Path>) -> Result<Self> {
        // Now: after the fork, nothing may be allocated.
        let file = file.and_then(|file| CString::new(file.as_os_str().as_bytes()).ok());
        let (page, (its, ours)) = (Page::take()?, UnixStream::pair()?);
        // A guardian that does not read must not hold us up.
        its.set_nonblocking(true)?;
        ours.set_nonblocking(true)?;
        // SAFETY: from here on the new process only makes system calls that are safe after a fork, and never returns.
        match unsafe { fork() }? {
            ForkResult::Parent { child } => Ok(Self { id: child, page, bell: ours }),
            ForkResult::Child => {
                drop(ours);
                let kill_after = nanos(kill_after);
                let state = State::Waiting;
                Watch { page, bell: its, shared, kill_after, file, state, runner_is_gone: false, last: NEVER }.run()
            }
        }
    }

    pub(crate) fn id(&self) -> Pid {
        self.id
    }

    /// What the process of the command announces itself in.
    pub(crate) fn page(&self) -> &'static Page {
        self.page
    }

    /// Says when the command is to be asked to stop, unless it was or is not to be, and when it is to be killed.
    pub(crate) fn set_deadlines(&self, stop: Option<Instant>, kill: Instant) {
        self.page.set_deadlines(stop.map_or(NEVER, time), time(kill));
        // If the guardian is gone, we still do what it would have done. If it does not read, it has been woken up.
        _ = (&self.bell).write(&[0]);
    }

    /// Says that there is no command any more: its process id may be used again.
    pub(crate) fn command_is_gone(&self) {
        self.page.clear_command();
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        // SIGKILL also ends a stopped guardian. Then it is reaped.
        _ = kill(self.id, Signal::SIGKILL);
        if waitpid(self.id, None).is_ok() {
            self.page.keep_for_next();
        }
    }
}

/// The guardian itself.
struct Watch {
    page: &'static Page,
    bell: UnixStream,
    shared: bool,
    kill_after: Time,
    file: Option<CString>,
    state: State,
    runner_is_gone: bool,
    /// When the command is killed at the latest, once the runner is gone.
    last: Time,
}

impl Watch {
    fn run(mut self) -> ! {
        // Out of reach of what is meant for us, and of what waits for our streams to end.
        _ = setsid();
        for ignored in FORWARDED_SIGNALS {
            // SAFETY: ignoring a signal runs no code.
            _ = unsafe { signal(ignored, SigHandler::SigIgn) };
        }
        for ours in [Signal::SIGTSTP, Signal::SIGCONT, Signal::SIGCHLD] {
            // SAFETY: the default disposition runs no code.
            _ = unsafe { signal(ours, SigHandler::SigDfl) };
        }
        _ = nix::sys::prctl::set_name(c"locker-guardian");
        // The kernel frees a lock of the runner's on a file only when no process has the file open any more.
        close_all_but(&mut [self.bell.as_raw_fd()]);
        while self.state != State::Done {
            self.act();
            self.sleep();
        }
        // Only the end of the runner leads here.
        self.file.as_deref().into_iter().for_each(|file| _ = unlink(file));
        leave()
    }

    /// Looks at the clock and the page, and does what is due.
    fn act(&mut self) {
        // The clock first: a command that is not there after a deadline does not start under it.
        let now = now();
        let deadline = self.deadline(now);
        let command = self.page.command();
        let is_there = command.is_some_and(|command| self.state != State::Alone || self.send(command, None));
        let runs = if is_there { Event::CommandRuns } else { Event::CommandIsGone };
        let gone = self.runner_is_gone.then_some(Event::RunnerIsGone);
        for event in [Some(runs), gone, Some(deadline)].into_iter().flatten() {
            let (state, action) = self.state.on(event);
            if state == State::Alone && self.state != State::Alone {
                self.last = now.saturating_add(self.kill_after);
            }
            self.state = state;
            match (action, command) {
                (Action::Ask, Some(command)) => {
                    self.send(command, Signal::SIGTERM);
                    self.send(command, Signal::SIGCONT);
                }
                (Action::Kill, Some(command)) => _ = self.send(command, Signal::SIGKILL),
                (Action::Nothing, _) | (_, None) => {}
            }
        }
    }

    fn deadline(&self, now: Time) -> Event {
        match (self.page.stop(), self.page.kill().min(self.last)) {
            (_, kill) if kill <= now => Event::KillIsDue,
            (NEVER, _) => Event::NotToAsk,
            (stop, _) if stop <= now => Event::StopIsDue,
            _ => Event::InTime,
        }
    }

    /// Waits for a deadline, for the bell, or for the end of the runner.
    fn sleep(&mut self) {
        const GLANCE: Time = 20_000_000;
        let now = now();
        let next = [self.page.stop(), self.page.kill(), self.last].into_iter().filter(|time| *time > now).min();
        let left = next.unwrap_or(NEVER) - now;
        if self.state == State::Alone {
            // There is no event for the end of the command, so look now and then.
            _ = poll(&mut [], timeout(left.min(GLANCE)));
            return;
        }
        let mut waiting = [PollFd::new(self.bell.as_fd(), PollFlags::POLLIN)];
        if matches!(poll(&mut waiting, timeout(left)), Ok(1)) {
            self.runner_is_gone = match self.bell.read(&mut [0; 64]) {
                Ok(bytes) => bytes == 0,
                Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
            };
        }
    }

    /// Sends a signal to the command, and returns whether it exists.
    fn send(&self, command: Pid, signal: impl Into<Option<Signal>>) -> bool {
        let sent = if self.shared { kill(command, signal) } else { killpg(command, signal) };
        sent.is_ok()
    }
}

/// Rounded up, so that what was waited for is due.
fn timeout(left: Time) -> PollTimeout {
    PollTimeout::try_from(Duration::from_nanos(left) + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
}

/// Ends this process without running anything that belongs to the one that it was forked from.
fn leave() -> ! {
    // SAFETY: this call ends the process and touches nothing else.
    unsafe { nix::libc::_exit(0) }
}
