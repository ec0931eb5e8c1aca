//! The open files of a store: checks the data file for each transaction, and replaces it when it is damaged or gone.
//!
//! All of it happens under the lock. No other program may trust the data file without it.

use std::fs;

use nix::errno::Errno;
use nix::fcntl::posix_fallocate;

use super::check;
use super::database::Database;
use super::failure::Failure;
use super::folder::{FileId, Folder};
use super::header::{DataFile, Header};
use super::lock_file::{self, LockFile};
use super::machine::Machine;
use crate::time::WallClock;

pub(super) const DATA: &str = "locks.mdb";
const DAMAGED: &str = "locks.mdb.damaged-";
/// Allocated at once, so that a disk that gets full later stops neither releases nor renewals.
const ALLOCATED: i64 = 1 << 20;

pub(super) struct Files {
    pub(super) folder: Folder,
    pub(super) lock: LockFile,
    pub(super) header: Header,
    pub(super) data: Option<Data>,
    /// Whether this process has its share of the users' lock.
    pub(super) is_user: bool,
}

pub(super) struct Data {
    pub(super) database: Database,
    id: FileId,
}

impl Files {
    pub(super) fn open(folder: Folder) -> Result<Self, Failure> {
        let lock = LockFile::open(&folder)?;
        Ok(Self { folder, lock, header: Header::default(), data: None, is_user: false })
    }

    /// Makes the store that of this boot, with nothing in it.
    pub(super) fn begin(&mut self, machine: &Machine, fence: u64) -> Result<(), Failure> {
        self.data = None;
        self.remove_data()?;
        let (boot_id, time_namespace) = (machine.boot_id(), machine.time_namespace());
        self.header = Header { boot_id, time_namespace, fence, ..Header::default() };
        self.write_header()
    }

    /// No lock outlives a boot. A process that has the store open on another kernel holds its share of the users' lock.
    pub(super) fn begin_after_boot(&mut self, machine: &Machine) -> Result<(), Failure> {
        self.is_user = false;
        if !self.lock.try_users(true) {
            return Err(self.another_kernel());
        }
        self.begin(machine, self.header.fence)
    }

    pub(super) fn another_kernel(&self) -> Failure {
        Failure::denied(format!(
            "the local store at {} is in use by another machine; use a folder on a disk of this machine, or Redis",
            self.folder.path.display()
        ))
    }

    fn write_header(&self) -> Result<(), Failure> {
        self.header
            .write(&self.lock.file)
            .map_err(|error| Failure::of_system(&self.folder.display(lock_file::NAME), &error))
    }

    /// Makes sure that the data file is the one that is open, and that no other program has changed it.
    pub(super) fn check_data(&mut self) -> Result<(), Failure> {
        let metadata = self.folder.metadata(DATA).ok();
        let id = metadata.as_ref().map(FileId::of);
        if let (Some(data), Some(metadata)) = (&self.data, &metadata)
            && id == Some(data.id)
            && DataFile::from(metadata) == self.header.data
        {
            return Ok(());
        }
        if self.data.as_ref().is_none_or(|data| id != Some(data.id)) {
            self.data = None;
        }
        match metadata {
            None => self.create_data(),
            // The process that made it was killed before anything was in it.
            Some(_) if self.header.data == DataFile::default() => {
                self.data = None;
                self.remove_data()?;
                self.create_data()
            }
            Some(metadata) => {
                if DataFile::from(&metadata) != self.header.data {
                    self.inspect_data(&metadata)?;
                }
                self.open_data()
            }
        }
    }

    /// Reads the whole file, since LMDB trusts what is in it.
    fn inspect_data(&mut self, metadata: &fs::Metadata) -> Result<(), Failure> {
        let failed = |error| Failure::of_system(&self.folder.display(DATA), &error);
        if !metadata.is_file() {
            return Err(Failure::Damaged("it is not a file".to_owned()));
        }
        let bytes = fs::read(self.folder.file(DATA)).map_err(failed)?;
        let checked = check::check(&bytes, self.header.transaction);
        self.header.transaction = checked.map_err(|reason| Failure::Damaged(reason.to_owned()))?;
        let now = self.folder.metadata(DATA).map_err(failed)?;
        self.header.data = DataFile::from(&now);
        self.write_header()
    }

    fn create_data(&mut self) -> Result<(), Failure> {
        let path = self.folder.display(DATA);
        let failed = |error| Failure::of_system(&path, &error);
        let file = self.folder.open_file(DATA).map_err(failed)?;
        self.open_data()?;
        match posix_fallocate(&file, 0, ALLOCATED) {
            // Some file systems cannot do that, and allocate what is written.
            Ok(()) | Err(Errno::EOPNOTSUPP | Errno::ENOSYS | Errno::EINVAL) => {}
            Err(error) => {
                self.data = None;
                self.remove_data()?;
                return Err(failed(error.into()));
            }
        }
        self.header.data = DataFile::from(&file.metadata().map_err(failed)?);
        self.header.transaction = 0;
        self.write_header()
    }

    fn open_data(&mut self) -> Result<(), Failure> {
        if self.data.is_none() {
            let database = Database::open(&self.folder.file(DATA), &self.folder.display(DATA))?;
            let failed = |error| Failure::of_system(&self.folder.display(DATA), &error);
            let id = FileId::of(&database.metadata().map_err(failed)?);
            self.data = Some(Data { database, id });
        }
        Ok(())
    }

    /// Keeps the damaged file for who wants to see it, and no older one.
    pub(super) fn set_aside(&mut self, reason: &str) -> Result<(), Failure> {
        self.data = None;
        let failed = |error| Failure::of_system(&self.folder.display(DATA), &error);
        let files = fs::read_dir(self.folder.file(".")).map_err(failed)?;
        for file in files.filter_map(Result::ok) {
            if file.file_name().to_string_lossy().starts_with(DAMAGED) {
                _ = fs::remove_file(file.path());
            }
        }
        let kept = format!("{DAMAGED}{}", WallClock::default().micros() / 1_000_000);
        match fs::rename(self.folder.file(DATA), self.folder.file(&kept)) {
            Ok(()) => tracing::warn!(
                path = %self.folder.display(&kept).display(), reason,
                "the local store was damaged: its locks are lost, and its file is set aside"
            ),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        self.header.data = DataFile::default();
        self.write_header()
    }

    fn remove_data(&self) -> Result<(), Failure> {
        match fs::remove_file(self.folder.file(DATA)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Failure::of_system(&self.folder.display(DATA), &error))
            }
            _ => Ok(()),
        }
    }
}
