//! The files of a store: opens them, checks them for each transaction, and replaces them when they are damaged or gone.
//!
//! All of it happens under the lock. No other program may trust the data file without it.

use std::fs;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::posix_fallocate;

use super::check;
use super::database::Database;
use super::failure::Failure;
use super::folder::{FileId, Folder};
use super::header::{DataFile, Header, ReadHeader};
use super::lock_file::{self, LockFile};
use super::machine::Machine;
use super::mailbox::Sender;
use super::peers::{Here, Peers};
use super::table::Table;
use crate::store::ErrorKind;
use crate::time::{Moment, WallClock};

const DATA: &str = "locks.mdb";
const DAMAGED: &str = "locks.mdb.damaged-";
/// Allocated at once, so that a disk that gets full later stops neither releases nor renewals.
const ALLOCATED: i64 = 1 << 20;

pub(super) struct Store {
    path: PathBuf,
    machine: Machine,
    is_private: bool,
    clock: WallClock,
    files: Option<Files>,
    sender: Sender,
}

/// The open files of a store.
struct Files {
    folder: Folder,
    lock: LockFile,
    header: Header,
    data: Option<Data>,
    /// Whether this process has its share of the users' lock.
    is_user: bool,
}

struct Data {
    database: Database,
    id: FileId,
}

impl Store {
    pub(super) fn new(path: &Path, folder: Folder, machine: Machine, is_private: bool) -> Result<Self, Failure> {
        let lock = LockFile::open(&folder)?;
        let sender = Sender::new().map_err(|error| Failure::of_system(path, &error))?;
        let files = Some(Files { folder, lock, header: Header::default(), data: None, is_user: false });
        Ok(Self { path: path.to_owned(), machine, is_private, clock: WallClock::default(), files, sender })
    }

    pub(super) fn close(&mut self) {
        self.files = None;
    }

    pub(super) fn folder(&self) -> Option<&Folder> {
        self.files.as_ref().map(|files| &files.folder)
    }

    /// Takes the lock, and makes sure that the files are those of the store. Blocks while another process has the lock.
    pub(super) fn lock(&mut self) -> Result<(), Failure> {
        loop {
            let files = match self.files.take() {
                Some(files) => files,
                None => {
                    let (folder, _) = Folder::open(&self.path, self.is_private)?;
                    let lock = LockFile::open(&folder)?;
                    Files { folder, lock, header: Header::default(), data: None, is_user: false }
                }
            };
            let failed = |error| Failure::of_system(&self.path, &error);
            files.lock.lock().map_err(failed)?;
            // The files may have been removed, and others made in their place.
            if files.folder.is_current() && files.lock.is_current(&files.folder) {
                self.files = Some(files);
                break;
            }
        }
        self.check().inspect_err(|_| self.unlock())
    }

    pub(super) fn unlock(&self) {
        if let Some(files) = &self.files {
            files.lock.unlock();
        }
    }

    fn check(&mut self) -> Result<(), Failure> {
        let Some(files) = &mut self.files else { return Err(gone()) };
        let failed = |error| Failure::of_system(&files.folder.display(lock_file::NAME), &error);
        match Header::read(&files.lock.file).map_err(failed)? {
            ReadHeader::Header(header) => files.header = header,
            ReadHeader::Newer(version) => {
                return Err(Failure::denied(format!(
                    "the local store at {} has the format {version} of a later version of locker: update this program, or use another location",
                    self.path.display()
                )));
            }
            ReadHeader::Empty => files.begin(&self.machine, 0)?,
            ReadHeader::Damaged => {
                files.set_aside("its header has another content than was written")?;
                files.begin(&self.machine, files.header.fence)?;
            }
        }
        if files.header.boot_id != self.machine.boot_id() {
            files.begin_after_boot(&self.machine)?;
        }
        if files.header.time_namespace != self.machine.time_namespace() {
            return Err(Failure::denied(format!(
                "the local store at {} is used from another time namespace, in which clocks differ: use another location",
                self.path.display()
            )));
        }
        if !files.is_user {
            files.is_user = files.lock.try_users(false);
            if !files.is_user {
                return Err(files.another_kernel());
            }
        }
        files.check_data().or_else(|failure| match failure {
            Failure::Damaged(reason) => {
                files.set_aside(&reason)?;
                files.check_data()
            }
            failure => Err(failure),
        })?;
        Ok(())
    }

    /// Sets the data file aside, and makes a new one.
    pub(super) fn replace(&mut self, reason: &str) -> Result<(), Failure> {
        let Some(files) = &mut self.files else { return Err(gone()) };
        files.set_aside(reason)?;
        files.check_data()
    }

    /// Removes sockets of processes that have ended.
    pub(super) fn sweep(&self) {
        if let Some(folder) = self.folder() {
            self.sender.sweep(folder);
        }
    }

    /// Runs one transaction, all of it or nothing. The lock must be held.
    pub(super) fn transaction<T>(
        &mut self,
        moment: Moment,
        here: &mut Here<'_>,
        steps: impl FnOnce(&mut Table<'_, '_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let answer = self.try_transaction(moment, here, steps);
        if let (Err(Failure::Refused(ErrorKind::Unavailable, _)), Some(files)) = (&answer, &mut self.files) {
            // LMDB may refuse to go on after a failed write.
            files.data = None;
            files.check_data()?;
        }
        answer
    }

    fn try_transaction<T>(
        &mut self,
        moment: Moment,
        here: &mut Here<'_>,
        steps: impl FnOnce(&mut Table<'_, '_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let Self { clock, sender, files, .. } = self;
        let (micros, Some(files)) = (clock.micros(), files) else { return Err(gone()) };
        let Files { folder, lock, header, data: Some(data), .. } = files else { return Err(gone()) };
        let path = folder.display(DATA);
        let peers = Peers { folder, sender, here };
        let mut table = Table::new(data.database.begin()?, moment, header.fence, micros, &path, peers);
        table.expire()?;
        let answer = steps(&mut table)?;
        let (transaction, fence) = table.finish();
        let Some(transaction) = transaction else { return Ok(answer) };
        let failed = |error| Failure::of_system(&path, &error);
        if fence != header.fence {
            // Before the grant: a fence must not be granted twice, though the data is lost.
            header.fence = fence;
            header.write(&lock.file).map_err(failed)?;
        }
        header.transaction = transaction.commit()?;
        header.data = DataFile::from(&data.database.metadata().map_err(failed)?);
        // If this fails, the next transaction checks the file.
        _ = header.write(&lock.file);
        Ok(answer)
    }
}

fn gone() -> Failure {
    Failure::unavailable("the local store is not open")
}

impl Files {
    /// Makes the store that of this boot, with nothing in it.
    fn begin(&mut self, machine: &Machine, fence: u64) -> Result<(), Failure> {
        self.data = None;
        self.remove_data()?;
        let (boot_id, time_namespace) = (machine.boot_id(), machine.time_namespace());
        self.header = Header { boot_id, time_namespace, fence, ..Header::default() };
        self.write_header()
    }

    /// No lock outlives a boot. A process that has the store open on another kernel holds its share of the users' lock.
    fn begin_after_boot(&mut self, machine: &Machine) -> Result<(), Failure> {
        self.is_user = false;
        if !self.lock.try_users(true) {
            return Err(self.another_kernel());
        }
        self.begin(machine, self.header.fence)
    }

    fn another_kernel(&self) -> Failure {
        Failure::denied(format!(
            "the local store at {} is in use by another machine: use a folder on a disk of this machine, or Redis",
            self.folder.path.display()
        ))
    }

    fn write_header(&self) -> Result<(), Failure> {
        self.header
            .write(&self.lock.file)
            .map_err(|error| Failure::of_system(&self.folder.display(lock_file::NAME), &error))
    }

    /// Makes sure that the data file is the one that is open, and that no other program has changed it.
    fn check_data(&mut self) -> Result<(), Failure> {
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
        check::check(&bytes, self.header.transaction).map_err(|reason| Failure::Damaged(reason.to_owned()))?;
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
    fn set_aside(&mut self, reason: &str) -> Result<(), Failure> {
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
