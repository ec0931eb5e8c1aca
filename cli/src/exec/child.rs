//! The command that runs under the lock, as a process.

use std::ffi::OsString;
use std::io::{Error, ErrorKind, IsTerminal, Result};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal, kill, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::{Pid, getpgrp};
use tokio::process::Command;

use super::guardian::{Guardian, TOO_LATE, check, time};
use super::{orphans, terminal};
use crate::exit_code::Exit;
use crate::signals::{Signals, is_deadly, restore, stop_by, was_ignored};

/// The command, and with it all that it starts, unless it shares our process group.
pub(crate) struct Child {
    child: tokio::process::Child,
    /// Outlives the child: what the command left behind is still in its group.
    id: Pid,
    guardian: Option<Pid>,
    shared: bool,
    /// Whether the command's group has, or had, the foreground of the terminal.
    has_terminal: bool,
    was_signalled: bool,
    /// Whether it was stopped together with us.
    is_suspended: bool,
    /// When the command is continued once more.
    continue_at: Option<Instant>,
}

/// On a terminal the command stays in our process group, so that keys like Ctrl-C and Ctrl-Z reach us both.
pub(crate) fn shares_our_group() -> bool {
    std::io::stdin().is_terminal()
}

impl Child {
    /// Starts a command, of which the guardian knows before it runs, unless the lock counts as lost by then.
    pub(crate) fn start(
        command: &[OsString],
        environment: impl IntoIterator<Item = (&'static str, OsString)>,
        guardian: Option<&Guardian>,
        lost_at: Instant,
    ) -> Result<Self> {
        let (program, arguments) = command.split_first().ok_or(ErrorKind::InvalidInput)?;
        let mut command = Command::new(program);
        command.args(arguments).env_remove("LOCKER_TOKEN").envs(environment).kill_on_drop(true);
        let shared = shares_our_group();
        if !shared {
            command.process_group(0);
        }
        let mask = SigSet::thread_get_mask()?;
        let (page, lost_at) = (guardian.map(Guardian::page), time(lost_at));
        // We may be stopped at any moment, so the process that becomes the command looks at the clock as the last thing.
        let begin = move || {
            restore(&mask)?;
            Ok(page.map_or_else(|| check(lost_at), |page| page.announce_command(lost_at))?)
        };
        // SAFETY: it makes a few system calls and writes to memory that is mapped, and allocates nothing.
        unsafe { command.pre_exec(begin) };
        let child = command.spawn()?;
        let id = child.id().and_then(|id| i32::try_from(id).ok()).ok_or(ErrorKind::NotFound)?;
        Ok(Self {
            child,
            id: Pid::from_raw(id),
            guardian: guardian.map(Guardian::id),
            shared,
            has_terminal: false,
            was_signalled: false,
            is_suspended: false,
            continue_at: None,
        })
    }

    /// Whether this is why a command was not started: its lock counts as lost.
    pub(crate) fn is_too_late(error: &Error) -> bool {
        error.raw_os_error() == Some(TOO_LATE as i32)
    }

    /// Waits for the command itself to end.
    pub(crate) async fn wait(&mut self) -> Result<Exit> {
        let exit = exit(self.child.wait().await?);
        if self.has_terminal {
            terminal::pass(self.id, getpgrp());
            self.has_terminal = false;
            // The keys of the terminal have reached the command only, and are meant for all that was started with it.
            let of_a_key = |signal: &Signal| matches!(signal, Signal::SIGINT | Signal::SIGQUIT) && !self.was_signalled;
            if let Exit::Signal(signal) = exit
                && let Some(signal) = Signal::try_from(signal).ok().filter(of_a_key)
            {
                _ = kill(Pid::from_raw(0), signal);
            }
        }
        Ok(exit)
    }

    /// Listens to what a command in a group of its own needs: a terminal stops and continues only our group.
    pub(crate) fn listen(signals: &mut Signals) -> anyhow::Result<()> {
        if !shares_our_group() {
            // The order counts: after SIGCONT, the command is no longer stopped.
            let stops = Some(Signal::SIGTSTP).filter(|signal| !was_ignored(*signal));
            signals.add(stops.into_iter().chain([Signal::SIGCONT, Signal::SIGCHLD]))
        } else if orphans::adopts() {
            signals.add([Signal::SIGCHLD])
        } else {
            Ok(())
        }
    }

    /// Does what a signal asks for while there is no command, after an earlier one. Returns whether it concerns commands only.
    pub(crate) fn on_none(signal: Signal) -> bool {
        match signal {
            Signal::SIGCHLD if orphans::adopts() => orphans::reap(&[]),
            Signal::SIGCHLD | Signal::SIGCONT => {}
            Signal::SIGTSTP => stop_by(signal, false),
            _ => return false,
        }
        true
    }

    /// Does what a signal asks for.
    pub(crate) fn on(&mut self, signal: Signal) {
        match signal {
            Signal::SIGCHLD => {
                if orphans::adopts() {
                    orphans::reap(&[Some(self.id), self.guardian]);
                }
                if !self.shared {
                    self.follow_stop();
                }
            }
            Signal::SIGCONT => self.go_on(),
            Signal::SIGTSTP => {
                self.signal(signal);
                self.is_suspended = true;
                stop_by(signal, false);
            }
            signal => self.pass_on(signal),
        }
    }

    /// Passes on what we were sent. The terminal has sent to the whole group what its keys stand for.
    fn pass_on(&mut self, signal: Signal) {
        if self.shared && matches!(signal, Signal::SIGINT | Signal::SIGQUIT) {
            return;
        }
        self.was_signalled = true;
        self.signal(signal);
        if is_deadly(signal) {
            // A command that is stopped ends only once it is continued.
            self.signal(Signal::SIGCONT);
        }
    }

    /// The command may have been stopped because it uses the terminal, or by a key.
    fn follow_stop(&mut self) {
        const USES_TERMINAL: [Signal; 2] = [Signal::SIGTTIN, Signal::SIGTTOU];
        let flags = WaitPidFlag::WSTOPPED | WaitPidFlag::WNOHANG;
        let Ok(WaitStatus::Stopped(_, signal)) = waitid(Id::Pid(self.id), flags) else { return };
        if USES_TERMINAL.contains(&signal) && terminal::pass(getpgrp(), self.id) {
            self.has_terminal = true;
            self.signal(Signal::SIGCONT);
            // Programs that ask for passwords handle the signal, and may stop themselves a little later.
            self.continue_at = Some(Instant::now() + Duration::from_millis(100));
        } else if USES_TERMINAL.contains(&signal) && terminal::is_there() {
            // In the background, all of the job is stopped. A shell continues it.
            self.is_suspended = true;
            stop_by(signal, true);
        } else if signal == Signal::SIGTSTP && self.has_terminal {
            terminal::pass(self.id, getpgrp());
            self.is_suspended = true;
            stop_by(signal, true);
            // Where no shell looks after our group, the system does not stop it.
            self.go_on();
        }
    }

    /// When the command is to be continued once more.
    pub(crate) fn continue_at(&self) -> Option<Instant> {
        self.continue_at
    }

    pub(crate) fn continue_again(&mut self) {
        self.continue_at = None;
        self.signal(Signal::SIGCONT);
    }

    /// Continues the command if it was stopped together with us, in the foreground if it was there and we are.
    fn go_on(&mut self) {
        if !std::mem::take(&mut self.is_suspended) {
            return;
        }
        if self.has_terminal {
            terminal::pass(getpgrp(), self.id);
        }
        self.signal(Signal::SIGCONT);
    }

    /// Asks the command to stop, also if it is stopped already, in the other sense.
    pub(crate) fn stop(&self) {
        self.signal(Signal::SIGTERM);
        self.signal(Signal::SIGCONT);
    }

    pub(crate) fn kill(&self) {
        self.signal(Signal::SIGKILL);
    }

    /// Kills what the command left behind, as far as it is known.
    pub(crate) fn kill_rest(&self) {
        if !self.shared {
            self.kill();
        }
    }

    fn signal(&self, signal: Signal) {
        // It may have ended by itself just now.
        _ = if self.shared { kill(self.id, signal) } else { killpg(self.id, signal) };
    }
}

fn exit(status: ExitStatus) -> Exit {
    match (status.code().map(u8::try_from), status.signal()) {
        (Some(Ok(code)), _) => Exit::Code(code),
        (_, Some(signal)) => Exit::Signal(signal),
        _ => Exit::Fault,
    }
}
