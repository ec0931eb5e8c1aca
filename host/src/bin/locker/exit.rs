//! What the exit code says.

use std::error::Error as _;
use std::process::ExitCode;

use locker_host::{Error, ErrorKind};

/// The exit codes; the numbers are those of sysexits.h where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Done,
    /// The token does not hold the lock, or nobody does.
    No,
    Usage,
    Unavailable,
    Lost,
    Held,
    Refused,
    Fault,
    /// Ended by this signal.
    Signal(i32),
    /// What the user or the command said.
    Code(u8),
}

/// A wrong use of the command line that its parser cannot see.
#[derive(Debug)]
pub(crate) struct Misuse(pub(crate) String);

impl std::fmt::Display for Misuse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Misuse {}

/// What was configured cannot work.
#[derive(Debug)]
pub(crate) struct Misconfigured(pub(crate) String);

impl std::fmt::Display for Misconfigured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Misconfigured {}

impl Exit {
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        if error.downcast_ref::<Misuse>().is_some() {
            return Self::Usage;
        }
        if error.downcast_ref::<Misconfigured>().is_some() {
            return Self::Refused;
        }
        let Some(error) = error.downcast_ref::<Error>() else { return Self::Fault };
        match error.kind() {
            ErrorKind::Unavailable => Self::Unavailable,
            ErrorKind::Denied => Self::Refused,
            // The cache finds fault with what it holds; without the cache's error, it is the arguments.
            ErrorKind::Invalid if error.source().is_some() => Self::Refused,
            ErrorKind::Invalid => Self::Usage,
            _ => Self::Fault,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::No => 1,
            Exit::Usage => 64,
            Exit::Unavailable => 69,
            Exit::Fault => 70,
            Exit::Lost => 74,
            Exit::Held => 75,
            Exit::Refused => 78,
            Exit::Signal(signal) => 128_u8.saturating_add(u8::try_from(signal).unwrap_or(127)),
            Exit::Code(code) => code,
        })
    }
}
