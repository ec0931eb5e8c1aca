//! The process that the script waits for, and the keeper.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, kill, signal};
use nix::sys::signalfd::SignalFd;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, dup2_stdin, fork as fork_process, setsid};
use tokio::io::AsyncWriteExt;

use super::shell::{Shell, Watch};
use super::substitution::is_in_substitution;
use crate::args::{Args, Hold};
use crate::descriptors::close_all_but;
use crate::exit_code::{CliError, Exit};
use crate::signals::{FORWARDED_SIGNALS, was_ignored};

/// Which process this is after the fork.
pub(crate) enum Process {
    /// The one that the script waits for. It has ended like this.
    Foreground(Exit),
    Keeper(Keeper),
}

/// What the keeper has from the fork.
pub(crate) struct Keeper {
    shell: Shell,
    link: UnixStream,
}

/// Forks the keeper. It has to come before all threads, and before a store is opened.
pub(crate) fn fork(args: &Args, hold: &Hold) -> Result<Process> {
    if args.cache.as_deref() == Some("memory") {
        bail!(CliError(
            Exit::Refused,
            "a lock in memory ends with its process and excludes no other: use --cache local, or the URL of a server"
                .to_owned()
        ));
    }
    if hold.pid.is_none() && is_in_substitution() {
        bail!(CliError(
            Exit::Usage,
            "the shell of $(...) or of a pipeline ends before the script, and the lock with it: say --pid $$, or send the \
             output elsewhere, as to /dev/null"
                .to_owned()
        ));
    }
    let shell = Shell::of(hold.pid)?;
    let (ours, its) = UnixStream::pair().context("cannot start a process")?;
    // From here on, so that no signal falls between the processes.
    let forwarded: SigSet = FORWARDED_SIGNALS.into_iter().filter(|signal| !was_ignored(*signal)).collect();
    let mask = forwarded.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
    // SAFETY: the default disposition runs no code. With another one, the system would not keep the exit code of the keeper.
    _ = unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) };
    // SAFETY: this process has one thread yet.
    match unsafe { fork_process() }.context("cannot start a process")? {
        ForkResult::Parent { child } => {
            drop((its, shell));
            Ok(Process::Foreground(follow(child, ours, &forwarded)?))
        }
        ForkResult::Child => {
            drop(ours);
            // What the terminal sends to its processes is not meant for the keeper.
            setsid()?;
            mask.thread_set_mask()?;
            _ = nix::sys::prctl::set_name(c"locker-keeper");
            close_all_but(&mut [0, 1, 2, its.as_raw_fd(), shell.as_raw_fd()]);
            dup2_stdin(File::open("/dev/null")?)?;
            Ok(Process::Keeper(Keeper { shell, link: its }))
        }
    }
}

/// Waits until the keeper has the lock, or has ended, and passes on signals meanwhile.
fn follow(keeper: Pid, mut link: UnixStream, forwarded: &SigSet) -> Result<Exit> {
    let signals = SignalFd::new(forwarded)?;
    loop {
        let mut waiting = [&link.as_fd(), &signals.as_fd()].map(|fd| PollFd::new(*fd, PollFlags::POLLIN));
        // A signal that is not forwarded may end it early.
        _ = poll(&mut waiting, PollTimeout::NONE);
        let [from_keeper, from_others] = waiting.map(|fd| fd.any() == Some(true));
        if from_others
            && let Ok(Some(received)) = signals.read_signal()
            && let Some(signal) =
                i32::try_from(received.ssi_signo).ok().and_then(|signal| Signal::try_from(signal).ok())
        {
            _ = kill(keeper, signal);
        }
        if from_keeper && link.read(&mut [0]).ok() == Some(1) {
            return Ok(Exit::Done);
        } else if from_keeper {
            break;
        }
    }
    Ok(match waitpid(keeper, None)? {
        WaitStatus::Exited(_, code) => Exit::Code(u8::try_from(code)?),
        WaitStatus::Signaled(_, signal, _) => Exit::Signal(signal as i32),
        _ => Exit::Fault,
    })
}

/// The keeper's side of the link to the process that the script waits for.
pub(super) struct Link(tokio::net::UnixStream);

impl Keeper {
    /// What the keeper waits for, in the runtime.
    pub(super) fn watch(self) -> Result<(Watch, Link)> {
        self.link.set_nonblocking(true)?;
        Ok((self.shell.watch()?, Link(tokio::net::UnixStream::from_std(self.link)?)))
    }
}

impl Link {
    /// Resolves when that process has ended. It sends nothing.
    pub(super) async fn is_closed(&self) {
        _ = self.0.readable().await;
    }

    /// Lets that process end with success.
    pub(super) async fn report_granted(&mut self) -> Result<()> {
        self.0.write_all(&[1]).await.context("the caller has gone")
    }
}
