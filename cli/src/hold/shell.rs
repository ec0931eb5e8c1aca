//! The process whose end releases the lock.

use std::io::{Error, Result as IoResult};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use anyhow::{Result, bail};
use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getppid, getsid};
use tokio::io::unix::AsyncFd;

use crate::exit_code::{CliError, Exit};

/// A process, by a descriptor: its number may be used again after its end.
pub(super) struct Shell {
    id: Pid,
    descriptor: OwnedFd,
}

impl Shell {
    /// The process with this number, or else the one that called us.
    pub(super) fn of(id: Option<i32>) -> Result<Self> {
        let Some(id) = id else { return Self::caller() };
        Self::open(id).map_err(|error| {
            CliError(Exit::Usage, format!("--pid {id}: there is no such process that can be watched: {error}")).into()
        })
    }

    /// A process that has lost its parent has another one, which lives for as long as the machine or the session of a user. The lock would never be released.
    fn caller() -> Result<Self> {
        let id = getppid();
        if id.as_raw() == 0 || getsid(Some(id)) != getsid(None) {
            bail!(CliError(
                Exit::Usage,
                format!(
                    "the parent process {id} is no shell in this session: name the one that the lock is for with --pid"
                )
            ));
        }
        let shell = Self::open(id.as_raw());
        match shell {
            // Else its number may be that of another process by now.
            Ok(shell) if getppid() == id => Ok(shell),
            Ok(_) | Err(Errno::ESRCH) => bail!(CliError(Exit::Usage, "the caller has ended already".to_owned())),
            Err(error) => bail!("cannot watch process {id}: {error}"),
        }
    }

    fn open(id: i32) -> nix::Result<Self> {
        // SAFETY: it opens a new descriptor, which is closed at an exec.
        let descriptor = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, id, 0) })?;
        let descriptor = i32::try_from(descriptor).map_err(|_| Errno::EBADF)?;
        // SAFETY: the descriptor is new, so nothing else owns it.
        Ok(Self { id: Pid::from_raw(id), descriptor: unsafe { OwnedFd::from_raw_fd(descriptor) } })
    }

    pub(super) fn id(&self) -> Pid {
        self.id
    }

    pub(super) fn as_raw_fd(&self) -> RawFd {
        self.descriptor.as_raw_fd()
    }

    pub(super) fn watch(self) -> IoResult<Watch> {
        // SAFETY: the descriptor is that of its owner until both are dropped.
        Ok(Watch { id: self.id, descriptor: unsafe { AsyncFd::register(self.descriptor) }? })
    }
}

/// A process whose end is awaited.
pub(super) struct Watch {
    id: Pid,
    descriptor: AsyncFd<OwnedFd>,
}

impl Watch {
    pub(super) fn id(&self) -> Pid {
        self.id
    }

    /// Resolves when the process has ended, also if its parent has not heard of it yet.
    pub(super) async fn ended(&self) {
        _ = self.descriptor.readable().await;
    }

    pub(super) fn has_ended(&self) -> bool {
        let mut descriptor = [PollFd::new(self.descriptor.get_ref().as_fd(), PollFlags::POLLIN)];
        poll(&mut descriptor, PollTimeout::ZERO) != Ok(0)
    }

    pub(super) fn signal(&self, signal: Signal) -> IoResult<()> {
        let (descriptor, signal) = (self.descriptor.get_ref().as_raw_fd(), signal as i32);
        let nothing = std::ptr::null::<libc::siginfo_t>();
        // SAFETY: without further information, the call reads no memory.
        let sent = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, descriptor, signal, nothing, 0) };
        if sent == 0 { Ok(()) } else { Err(Error::last_os_error()) }
    }
}
