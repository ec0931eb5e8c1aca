//! The exit codes.

use std::error::Error as _;
use std::process::ExitCode;

use locker_host::{Error, ErrorKind};
use nix::sys::signal::Signal;

use crate::signals::is_deadly;

/// The exit codes; the numbers are those of sysexits.h where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Done,
    /// The token does not hold the lock, or the lock is free.
    NotHeld,
    Usage,
    Unavailable,
    Lost,
    Held,
    Refused,
    Fault,
    NotExecutable,
    NotFound,
    /// A plugin trapped or went beyond its limits; the number is that of a process that aborts.
    Aborted,
    /// Ended by this signal.
    Signal(i32),
    /// What the user or the command said.
    Code(u8),
}

/// What went wrong, with its exit code.
#[derive(Debug)]
pub(crate) struct CliError(pub(crate) Exit, pub(crate) String);

impl std::fmt::Display for CliError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.1)
    }
}

impl std::error::Error for CliError {}

/// The code of [`Exit::Fault`].
pub(crate) const FAULT: u8 = 70;

impl Exit {
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        if let Some(CliError(exit, _)) = error.downcast_ref() {
            return *exit;
        }
        error.downcast_ref::<Error>().map_or(Self::Fault, Self::of_error)
    }

    /// The exit code of an error of the library.
    pub(crate) fn of_error(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::Unavailable => Self::Unavailable,
            ErrorKind::Denied => Self::Refused,
            ErrorKind::Expired => Self::Lost,
            // The cache finds fault with what it holds; without the cache's error, it is the arguments.
            ErrorKind::Invalid if error.source().is_some() => Self::Refused,
            ErrorKind::Invalid => Self::Usage,
            _ => Self::Fault,
        }
    }
}

impl Exit {
    /// The signal that this process is to die of, as its command did. Shells and supervisors tell these from an exit code.
    pub(crate) fn deadly_signal(self) -> Option<Signal> {
        let Self::Signal(signal) = self else { return None };
        Signal::try_from(signal).ok().filter(|signal| is_deadly(*signal))
    }

    /// The number, as a shell shows it.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::NotHeld => 1,
            Self::Usage => 64,
            Self::Unavailable => 69,
            Self::Fault => FAULT,
            Self::Lost => 74,
            Self::Held => 75,
            Self::Refused => 78,
            Self::NotExecutable => 126,
            Self::NotFound => 127,
            Self::Aborted => 134,
            Self::Signal(signal) => 128_u8.saturating_add(u8::try_from(signal).unwrap_or(127)),
            Self::Code(code) => code,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
