//! How processes tell each other that a lock was taken from its holder.
//!
//! A process that revokes a lock writes to a file in the folder. Those that hold locks watch the file.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use super::folder::Folder;

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

/// The file, watched.
pub(super) struct Watched {
    file: File,
    inotify: Inotify,
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
        inotify.add_watch(&folder.file(NAME), AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_DONT_FOLLOW)?;
        Ok(Self { file, inotify })
    }

    /// What the file says, if it was written to.
    pub(super) fn news(&self) -> Option<Revoked> {
        let is_written = self.inotify.read_events().is_ok_and(|events| !events.is_empty());
        let mut bytes = [0; MAX_LENGTH];
        is_written.then(|| {
            let length = self.file.read_at(&mut bytes, 0).unwrap_or_default();
            Revoked::parse(&bytes[..length]).unwrap_or_default()
        })
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
        assert_eq!(watched.news(), None);
        for key in ["a longer name", "job", ""] {
            let revoked = Revoked { fence: u64::MAX, key: key.to_owned() };
            revoked.announce(&folder).unwrap();
            assert_eq!(watched.news(), Some(revoked));
        }
    }

    #[test]
    fn what_another_program_wrote_is_no_revocation() {
        for bytes in [&b""[..], b"short", b"12345678without an end", b"12345678\xff\0"] {
            assert_eq!(Revoked::parse(bytes), None);
        }
    }
}
