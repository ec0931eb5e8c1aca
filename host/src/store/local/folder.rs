//! The folder of a store: where it is, who may use it, and that it is what it claims to be.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::unistd::{Uid, geteuid};

use super::failure::Failure;
use super::filesystem;
use crate::random::Random;

/// The folder of this user. It depends on nothing else, so that cron, services and shells agree on it.
pub(super) fn default_path() -> PathBuf {
    let user = geteuid();
    if user.is_root() { "/var/lib/locker".into() } else { format!("/var/tmp/locker-{user}").into() }
}

/// An open folder. A lock on it keeps `systemd-tmpfiles` from removing what is in it.
pub(super) struct Folder {
    pub(super) path: PathBuf,
    handle: File,
    id: FileId,
}

/// Which file it is, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    pub(super) fn of(metadata: &fs::Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

impl Folder {
    /// Opens the folder, or creates it for this user alone. Answers whether it is new. A private one is refused if other users have access.
    pub(super) fn open(path: &Path, is_private: bool) -> Result<(Self, bool), Failure> {
        let failed = |error| Failure::of_system(path, &error);
        let is_new = match DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            Err(error) => return Err(failed(error)),
        };
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
        let handle = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path).map_err(failed)?;
        let metadata = handle.metadata().map_err(failed)?;
        check_owner(path, &metadata, is_private)?;
        filesystem::check(&handle, path)?;
        // If a cleaner is at work just now, and removes a file, the next transaction notices.
        _ = handle.try_lock_shared();
        let folder = Self { path: path.to_owned(), handle, id: FileId::of(&metadata) };
        Ok((folder, is_new))
    }

    /// The same folder by another path.
    pub(super) fn at(self, path: PathBuf) -> Self {
        Self { path, ..self }
    }

    /// Whether the path still names this folder.
    pub(super) fn is_current(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|metadata| FileId::of(&metadata) == self.id)
    }

    /// A short path to a file in this very folder, whatever becomes of the folder's own path: addresses of sockets have 108 bytes.
    pub(super) fn file(&self, name: impl AsRef<OsStr>) -> PathBuf {
        Path::new("/proc/self/fd").join(self.handle.as_raw_fd().to_string()).join(name.as_ref())
    }

    /// A name for messages.
    pub(super) fn display(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Opens a file, or creates it for all users of the folder. Never follows a symbolic link.
    pub(super) fn open_file(&self, name: &str) -> io::Result<File> {
        let path = self.file(name);
        let mut options = OpenOptions::new();
        // What is not a file must not block.
        let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        options.read(true).write(true).mode(0o600).custom_flags(flags.bits());
        let file = match options.open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.create_file(&path, &options)?;
                options.open(&path)?
            }
            file => file?,
        };
        if !file.metadata()?.is_file() {
            return Err(io::Error::from_raw_os_error(nix::libc::ELOOP));
        }
        Ok(file)
    }

    /// Makes an empty file that has the right permissions from the beginning, unless another process was faster.
    fn create_file(&self, path: &Path, options: &OpenOptions) -> io::Result<()> {
        let new = self.file(format!("new-{:016x}", Random::default().u64()));
        options.clone().create_new(true).open(&new)?;
        let linked = self.share(&new).and_then(|()| fs::hard_link(&new, path));
        _ = fs::remove_file(&new);
        linked.or_else(|error| if error.kind() == io::ErrorKind::AlreadyExists { Ok(()) } else { Err(error) })
    }

    /// Lets all users of the folder use a file that was created in it: those that may write to the folder.
    pub(super) fn share(&self, path: &Path) -> io::Result<()> {
        let folder = self.handle.metadata()?;
        let shared = |bit, mode| if folder.mode() & bit == 0 { 0 } else { mode };
        let mode = 0o600 | shared(0o020, 0o060) | shared(0o002, 0o006);
        if mode != 0o600 {
            let file = File::options().read(true).custom_flags(OFlag::O_PATH.bits()).open(path)?;
            let same = Path::new("/proc/self/fd").join(file.as_raw_fd().to_string());
            // Not allowed to users that are not in the group; then the mode alone decides.
            _ = std::os::unix::fs::chown(&same, None, Some(folder.gid()));
            fs::set_permissions(same, Permissions::from_mode(mode))?;
        }
        Ok(())
    }

    pub(super) fn metadata(&self, name: &str) -> io::Result<fs::Metadata> {
        fs::symlink_metadata(self.file(name))
    }
}

fn check_owner(path: &Path, metadata: &fs::Metadata, is_private: bool) -> Result<(), Failure> {
    const STICKY: u32 = 0o1000;
    let (user, owner, mode, path) = (geteuid(), Uid::from_raw(metadata.uid()), metadata.mode(), path.display());
    if mode & STICKY != 0 && mode & 0o022 != 0 {
        return Err(Failure::denied(format!(
            "{path} is a folder for the files of all programs; name a folder in it for the local store"
        )));
    }
    if owner != user && (is_private || (!owner.is_root() && mode & 0o022 == 0)) {
        return Err(Failure::denied(format!(
            "the folder {path} of the local store belongs to user {owner}, not to user {user}; remove it, or use another location"
        )));
    }
    if is_private && mode & 0o077 != 0 {
        return Err(Failure::denied(format!(
            "other users may use the folder {path} of the local store; run chmod 700 {path}"
        )));
    }
    Ok(())
}
