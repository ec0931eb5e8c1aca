//! How processes learn that a lock was taken from its holder, and that any lock has changed.
//!
//! A process that revokes a lock writes to a file in the folder. Processes that hold locks watch this file. Each change is written to the lock
//! file. Processes that show the state of a lock watch that one.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};

use super::folder::Folder;
use super::lock_file;

const NAME: &str = "revoked";
const FENCE_LENGTH: usize = 8;
/// Longer than a fence and a key.
const MAX_LENGTH: usize = 2048;

/// The last revocation, as far as the file says it: another one may have come before it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Revoked {
    pub(super) fence: u64,
    pub(super) key: String,
}

/// The files, watched.
pub(super) struct Watched {
    file: File,
    inotify: Inotify,
    revocations: WatchDescriptor,
    /// Only while callers listen for changes: there are many.
    changes: Option<WatchDescriptor>,
}

/// What the files say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    pub(super) revoked: Option<Revoked>,
    pub(super) has_changed: bool,
}

fn add_watch(inotify: &Inotify, folder: &Folder, name: &str) -> io::Result<WatchDescriptor> {
    Ok(inotify.add_watch(&folder.file(name), AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_DONT_FOLLOW)?)
}

impl Revoked {
    /// Tells it to all processes that watch. The key comes with a zero at its end, which no key contains.
    pub(super) fn announce(&self, folder: &Folder) -> io::Result<()> {
        let bytes = [&self.fence.to_le_bytes()[..], self.key.as_bytes(), &[0]].concat();
        folder.open_file(NAME)?.write_all_at(&bytes, 0)
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (fence, rest) = bytes.split_first_chunk::<FENCE_LENGTH>()?;
        let key = rest.split(|byte| *byte == 0).next().filter(|key| key.len() < rest.len())?;
        Some(Self { fence: u64::from_le_bytes(*fence), key: String::from_utf8(key.to_vec()).ok()? })
    }
}

impl Watched {
    pub(super) fn open(folder: &Folder) -> io::Result<Self> {
        let (file, inotify) = (folder.open_file(NAME)?, Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?);
        let revocations = add_watch(&inotify, folder, NAME)?;
        Ok(Self { file, inotify, revocations, changes: None })
    }

    pub(super) fn watch_changes(&mut self, folder: &Folder) -> io::Result<()> {
        if self.changes.is_none() {
            self.changes = Some(add_watch(&self.inotify, folder, lock_file::NAME)?);
        }
        Ok(())
    }

    pub(super) fn ignore_changes(&mut self) {
        if let Some(changes) = self.changes.take() {
            // If this fails, the watch ends with all others.
            _ = self.inotify.rm_watch(changes);
        }
    }

    /// What the files say, if they were written to.
    pub(super) fn news(&self) -> News {
        let events = self.inotify.read_events().unwrap_or_default();
        let is_written = |watched| events.iter().any(|event| Some(event.wd) == watched);
        let mut bytes = [0; MAX_LENGTH];
        let revoked = is_written(Some(self.revocations)).then(|| {
            let length = self.file.read_at(&mut bytes, 0).unwrap_or_default();
            Revoked::parse(&bytes[..length]).unwrap_or_default()
        });
        News { revoked, has_changed: self.changes.is_some() && is_written(self.changes) }
    }
}

impl AsFd for Watched {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revocation_is_read_as_it_was_written_also_over_a_longer_one() {
        let folder = tempfile::tempdir().unwrap();
        let (folder, _) = Folder::open(folder.path(), false).unwrap();
        let watched = Watched::open(&folder).unwrap();
        assert_eq!(watched.news(), News::default());
        for key in ["a longer name", "job", ""] {
            let revoked = Revoked { fence: u64::MAX, key: key.to_owned() };
            revoked.announce(&folder).unwrap();
            assert_eq!(watched.news().revoked, Some(revoked));
        }
    }

    #[test]
    fn what_another_program_wrote_is_no_revocation() {
        for bytes in [&b""[..], b"short", b"12345678without an end", b"12345678\xff\0"] {
            assert_eq!(Revoked::parse(bytes), None);
        }
    }
}
