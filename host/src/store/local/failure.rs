//! Why a step on the store failed, before it becomes an answer.

use std::io;
use std::path::Path;

use nix::errno::Errno;

use crate::store::{CacheError, ErrorKind};

#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// The content is not what this program wrote. The file is set aside, and the step is repeated on a new one.
    Damaged(String),
    Refused(ErrorKind, String),
}

impl Failure {
    pub(super) fn denied(message: impl Into<String>) -> Self {
        Self::Refused(ErrorKind::Denied, message.into())
    }

    pub(super) fn unavailable(message: impl Into<String>) -> Self {
        Self::Refused(ErrorKind::Unavailable, message.into())
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::Refused(ErrorKind::Invalid, message.into())
    }

    /// What the system said about a file or folder of the store.
    pub(super) fn of_system(path: &Path, error: &io::Error) -> Self {
        let path = path.display();
        match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ENOSPC | Errno::EDQUOT) => Self::unavailable(format!(
                "no space is left for the local store at {path}; free some, or use another location"
            )),
            Some(Errno::EACCES | Errno::EPERM) => Self::denied(format!(
                "this user may not use the local store at {path} ({error}); change its permissions, or use another location"
            )),
            Some(Errno::EROFS) => Self::denied(format!(
                "the local store at {path} is on a file system that is read-only; use another location"
            )),
            Some(Errno::ELOOP | Errno::ENOTDIR) => Self::denied(format!(
                "the local store at {path} is a symbolic link, or not what it should be; remove it, or use another location"
            )),
            Some(Errno::ENOENT) => {
                Self::invalid(format!("the folder above the local store at {path} does not exist; create it"))
            }
            _ => Self::unavailable(format!("the local store at {path} failed: {error}")),
        }
    }

    pub(super) fn of_database(path: &Path, error: heed::Error) -> Self {
        use heed::MdbError;
        match error {
            heed::Error::Io(error) => Self::of_system(path, &error),
            heed::Error::Mdb(MdbError::Other(code)) => Self::of_system(path, &io::Error::from_raw_os_error(code)),
            heed::Error::Mdb(MdbError::MapFull | MdbError::TxnFull) => Self::unavailable(format!(
                "the local store at {} is full: it has too many locks and waiters at the same time",
                path.display()
            )),
            heed::Error::Mdb(
                MdbError::Invalid | MdbError::Corrupted | MdbError::PageNotFound | MdbError::VersionMismatch,
            ) => Self::Damaged(error.to_string()),
            error => Self::unavailable(format!("the local store at {} failed: {error}", path.display())),
        }
    }
}

impl From<Failure> for CacheError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Damaged(reason) => Self::new(
                ErrorKind::Unavailable,
                format!("the local store is damaged, and cannot be replaced: {reason}"),
            ),
            Failure::Refused(kind, message) => Self::new(kind, message),
        }
    }
}
