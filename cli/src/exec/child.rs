//! The command that runs under the lock, as a process.

use std::ffi::OsString;
use std::io::{Error, ErrorKind, IsTerminal, Result};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Instant;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tokio::process::Command;

use super::guardian::{Guardian, TOO_LATE, check, time};
use crate::exit_code::Exit;

/// The command, and with it all that it starts, unless it shares our process group.
pub(crate) struct Child {
    child: tokio::process::Child,
    /// Outlives the child: what the command left behind is still in its group.
    id: Pid,
    shared: bool,
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
        let (page, lost_at) = (guardian.map(Guardian::page), time(lost_at));
        // We may be stopped at any moment, so the process that becomes the command looks at the clock as the last thing.
        let begin = move || Ok(page.map_or_else(|| check(lost_at), |page| page.announce_command(lost_at))?);
        // SAFETY: it makes a few system calls and writes to memory that is mapped, and allocates nothing.
        unsafe { command.pre_exec(begin) };
        let child = command.spawn()?;
        let id = child.id().and_then(|id| i32::try_from(id).ok()).ok_or(ErrorKind::NotFound)?;
        Ok(Self { child, id: Pid::from_raw(id), shared })
    }

    /// Whether this is why a command was not started: its lock counts as lost.
    pub(crate) fn is_too_late(error: &Error) -> bool {
        error.raw_os_error() == Some(TOO_LATE as i32)
    }

    /// Waits for the command itself to end.
    pub(crate) async fn wait(&mut self) -> Result<Exit> {
        Ok(exit(self.child.wait().await?))
    }

    /// Passes on what we were sent. The terminal has sent to the whole group what its keys stand for.
    pub(crate) fn pass_on(&self, signal: Signal) {
        if !(self.shared && matches!(signal, Signal::SIGINT | Signal::SIGQUIT)) {
            self.signal(signal);
        }
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
