//! Running a command while holding a lock.

use std::ffi::OsString;
use std::io::{ErrorKind, IsTerminal};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context, Result};
use locker_host::{Lease, Locker, Unlock};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep_until};

use crate::acquire::{Acquired, acquire};
use crate::args::Exec;
use crate::exit::Exit;
use crate::report::{Report, words};
use crate::signals::Signals;

pub(crate) async fn exec(locker: &Locker, exec: Exec, report: Report) -> Result<Exit> {
    // From here on, so that no signal falls between the lock and the command.
    let mut signals = Signals::listen()?;
    let lease = match acquire(locker, &exec.name, exec.options, &mut signals).await? {
        Acquired::Lease(lease) => lease,
        Acquired::Held(holder) => {
            report.held(&exec.name, &holder)?;
            return Ok(Exit::Code(exec.conflict_exit_code));
        }
        Acquired::Interrupted(signal) => return Ok(Exit::Signal(signal)),
    };
    let ended = run(&exec.name, &lease, &exec.command, &mut signals).await;
    let released = locker.unlock(&exec.name, &lease.token).await;
    match (ended?, released) {
        (Ended::Stopped, _) => Ok(Exit::Lost),
        (Ended::By(_), Ok(Unlock::Absent | Unlock::HeldByOther)) => {
            words(&format!("lock {:?}: it was lost while the command ran: another may have run beside it", exec.name));
            Ok(Exit::Lost)
        }
        (Ended::By(exit), Ok(Unlock::Released)) => Ok(exit),
        (Ended::By(exit), Err(error)) => {
            words(&format!("{error}; the command is done, and the lock frees itself when its time is up"));
            Ok(exit)
        }
    }
}

enum Ended {
    By(Exit),
    /// The lease ran out first.
    Stopped,
}

async fn run(name: &str, lease: &Lease, command: &[OsString], signals: &mut Signals) -> Result<Ended> {
    let (program, arguments) = command.split_first().context("no command was given")?;
    // On a terminal the command stays in our process group, so that keys like Ctrl-C and Ctrl-Z reach us both.
    let shared_group = std::io::stdin().is_terminal();
    let mut command = Command::new(program);
    command.args(arguments).env("LOCKER_NAME", name).env("LOCKER_FENCE", lease.fence.to_string());
    command.env_remove("LOCKER_TOKEN").kill_on_drop(true);
    if !shared_group {
        command.process_group(0);
    }
    let times = Times::of(lease);
    let mut child = match command.spawn() {
        Ok(child) => Group::of(child, shared_group)?,
        Err(error) => {
            words(&format!("cannot run {}: {error}", program.display()));
            let code = if error.kind() == ErrorKind::NotFound { 127 } else { 126 };
            return Ok(Ended::By(Exit::Code(code)));
        }
    };
    loop {
        tokio::select! {
            status = child.child.wait() => return Ok(Ended::By(exit(status?))),
            signal = signals.next() => child.pass_on(signal),
            () = sleep_until(times.stop) => break,
        }
    }
    words(&format!(
        "lock {name:?}: its time is up before the command is done: stopping the command; give it a longer --ttl"
    ));
    child.signal(Signal::SIGTERM);
    let stopped = tokio::time::timeout_at(times.kill, child.child.wait()).await;
    if stopped.is_err() || !child.shared {
        // What the command left behind has no lock either.
        child.signal(Signal::SIGKILL);
    }
    child.child.wait().await?;
    Ok(Ended::Stopped)
}

/// When a command that is not done is asked to stop, and when it is made to: both before another can hold the lock.
struct Times {
    stop: Instant,
    kill: Instant,
}

impl Times {
    fn of(lease: &Lease) -> Self {
        let part = |parts: u32, most: u64| (lease.ttl / parts).min(Duration::from_secs(most));
        let before = |span: Duration| Instant::from_std(lease.deadline.checked_sub(span).unwrap_or(lease.deadline));
        Self { stop: before(part(5, 5)), kill: before(part(20, 1)) }
    }
}

/// The command, and with it all that it starts, unless it shares our group with us.
struct Group {
    child: Child,
    /// Outlives the child: what the command left behind is still in its group.
    id: Pid,
    shared: bool,
}

impl Group {
    fn of(child: Child, shared: bool) -> Result<Self> {
        let id = child.id().context("the command has no process id")?;
        Ok(Self { child, id: Pid::from_raw(i32::try_from(id)?), shared })
    }

    /// Passes on what we were sent. The terminal has sent to the whole group what its keys stand for.
    fn pass_on(&self, signal: Signal) {
        if !(self.shared && matches!(signal, Signal::SIGINT | Signal::SIGQUIT)) {
            self.signal(signal);
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
