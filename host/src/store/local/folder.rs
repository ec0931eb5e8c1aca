//! The folder of a store: where it is, who may use it, and that it is what it claims to be.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::unistd::{Uid, geteuid};

use super::failure::Failure;
use super::filesystem;

/// The folder of this user. It depends on nothing else, so that cron, services and shells agree on it.
pub(super) fn default_path() -> PathBuf {
    let user = geteuid();
    if user.is_root() { "/run/locker".into() } else { format!("/var/tmp/locker-{user}").into() }
}

/// An open folder. The lock on it keeps `systemd-tmpfiles` from removing what is in it.
pub(super) struct Folder {
    pub(super) path: PathBuf,
    handle: Flock<File>,
    id: FileId,
    /// What the files in it are created with: its users may read and write them all.
    mode: u32,
    group: u32,
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
    /// Opens the folder, or creates it for this user alone. Answers whether it is new.
    pub(super) fn open(path: &Path) -> Result<(Self, bool), Failure> {
        let failed = |error| Failure::of_system(path, &error);
        let is_new = match DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            Err(error) => return Err(failed(error)),
        };
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
        let handle = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path).map_err(failed)?;
        let metadata = handle.metadata().map_err(failed)?;
        check_owner(path, &metadata)?;
        filesystem::check(&handle, path)?;
        let handle = Flock::lock(handle, FlockArg::LockSharedNonblock).map_err(|(_, _)| {
            Failure::unavailable(format!("the folder {} is locked by another program: try again", path.display()))
        })?;
        let shared = |bit, mode| if metadata.mode() & bit == 0 { 0 } else { mode };
        let mode = 0o600 | shared(0o020, 0o060) | shared(0o002, 0o006);
        let folder = Self { path: path.to_owned(), handle, id: FileId::of(&metadata), mode, group: metadata.gid() };
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
    pub(super) fn open_file(&self, name: &str, flags: OFlag) -> io::Result<File> {
        let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        let path = self.file(name);
        let mut options = OpenOptions::new();
        options.read(true).write(true).mode(0o600).custom_flags(flags.bits());
        let created = options.clone().create_new(true).open(&path);
        let file = match created {
            Ok(file) => {
                self.share(&path)?;
                file
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => options.open(&path)?,
            Err(error) => return Err(error),
        };
        if !file.metadata()?.is_file() {
            return Err(io::Error::from_raw_os_error(nix::libc::ELOOP));
        }
        Ok(file)
    }

    /// Lets all users of the folder use a file that was created in it.
    pub(super) fn share(&self, path: &Path) -> io::Result<()> {
        if self.mode != 0o600 {
            let file = File::options().read(true).custom_flags(OFlag::O_PATH.bits()).open(path)?;
            let same = Path::new("/proc/self/fd").join(file.as_raw_fd().to_string());
            // Not allowed to users that are not in the group; then the mode alone decides.
            _ = std::os::unix::fs::chown(&same, None, Some(self.group));
            fs::set_permissions(same, Permissions::from_mode(self.mode))?;
        }
        Ok(())
    }

    pub(super) fn metadata(&self, name: &str) -> io::Result<fs::Metadata> {
        fs::symlink_metadata(self.file(name))
    }
}

fn check_owner(path: &Path, metadata: &fs::Metadata) -> Result<(), Failure> {
    const STICKY: u32 = 0o1000;
    let (user, owner, mode, path) = (geteuid(), Uid::from_raw(metadata.uid()), metadata.mode(), path.display());
    if mode & STICKY != 0 && mode & 0o022 != 0 {
        return Err(Failure::denied(format!(
            "{path} is a folder for the files of all programs: name a folder in it for the local store"
        )));
    }
    if owner != user && !owner.is_root() && mode & 0o022 == 0 {
        return Err(Failure::denied(format!(
            "the folder {path} of the local store belongs to user {owner}, not to user {user}: remove it, or use another location"
        )));
    }
    Ok(())
}

/// The folder of this user is for this user alone.
pub(super) fn check_private(folder: &Path) -> Result<(), Failure> {
    let metadata = fs::symlink_metadata(folder).map_err(|error| Failure::of_system(folder, &error))?;
    let (user, owner) = (geteuid(), Uid::from_raw(metadata.uid()));
    if owner != user {
        return Err(Failure::denied(format!(
            "the folder {} of the local store belongs to user {owner}, not to user {user}: remove it, or use another location",
            folder.display()
        )));
    }
    if metadata.mode() & 0o077 != 0 && !metadata.is_symlink() {
        return Err(Failure::denied(format!(
            "other users may use the folder {0} of the local store: run chmod 700 {0}",
            folder.display()
        )));
    }
    Ok(())
}
