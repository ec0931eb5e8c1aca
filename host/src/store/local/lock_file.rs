//! The lock file. Byte 0 is locked for each transaction, byte 1 is shared by all processes that have the store open.
//!
//! Locks of open file descriptions: the kernel frees them when a process ends, in whatever namespace it ran.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use super::failure::Failure;
use super::folder::{FileId, Folder};

pub(super) const NAME: &str = "lock";

pub(super) struct LockFile {
    pub(super) file: File,
    id: FileId,
}

#[derive(Clone, Copy)]
pub(super) enum Byte {
    Transaction = 0,
    Users = 1,
}

impl LockFile {
    pub(super) fn open(folder: &Folder) -> Result<Self, Failure> {
        let failed = |error| Failure::of_system(&folder.display(NAME), &error);
        let file = folder.open_file(NAME).map_err(failed)?;
        let id = FileId::of(&file.metadata().map_err(failed)?);
        Ok(Self { file, id })
    }

    /// Whether the folder still has this very file.
    pub(super) fn is_current(&self, folder: &Folder) -> bool {
        folder.metadata(NAME).is_ok_and(|metadata| FileId::of(&metadata) == self.id)
    }

    /// Waits for the exclusive lock, however long that takes: callers have deadlines of their own.
    pub(super) fn lock(&self) -> io::Result<()> {
        loop {
            match self.set(FcntlArg::F_OFD_SETLKW(&flock(Byte::Transaction, libc::F_WRLCK))) {
                Err(Errno::EINTR) => {}
                done => return Ok(done?),
            }
        }
    }

    pub(super) fn unlock(&self) {
        _ = self.set(FcntlArg::F_OFD_SETLK(&flock(Byte::Transaction, libc::F_UNLCK)));
    }

    /// Takes a lock if no other process is in the way.
    pub(super) fn try_users(&self, exclusive: bool) -> bool {
        let kind = if exclusive { libc::F_WRLCK } else { libc::F_RDLCK };
        self.set(FcntlArg::F_OFD_SETLK(&flock(Byte::Users, kind))).is_ok()
    }

    fn set(&self, lock: FcntlArg<'_>) -> nix::Result<()> {
        fcntl(self.file.as_fd(), lock).map(|_| ())
    }
}

fn flock(byte: Byte, kind: i32) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: byte as libc::off_t,
        l_len: 1,
        // Must be 0 for locks of open file descriptions.
        l_pid: 0,
    }
}
