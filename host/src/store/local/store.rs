//! A store: takes the lock, makes sure that the files are right, and runs transactions on them.

use std::path::{Path, PathBuf};

use super::failure::Failure;
use super::files::{DATA, Files};
use super::folder::Folder;
use super::header::{DataFile, Header, ReadHeader};
use super::lock_file;
use super::machine::Machine;
use super::mailbox::Sender;
use super::peers::{Here, Peers};
use super::table::Table;
use crate::store::ErrorKind;
use crate::time::{Moment, WallClock};

pub(super) struct Store {
    path: PathBuf,
    machine: Machine,
    is_private: bool,
    clock: WallClock,
    files: Option<Files>,
    sender: Sender,
}

impl Store {
    pub(super) fn new(path: &Path, folder: Folder, machine: Machine, is_private: bool) -> Result<Self, Failure> {
        let sender = Sender::new().map_err(|error| Failure::of_system(path, &error))?;
        let files = Some(Files::open(folder)?);
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
                None => Files::open(Folder::open(&self.path, self.is_private)?.0)?,
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
                    "the local store at {} has the format {version} of a later version of locker; update this program, or use another location",
                    self.path.display()
                )));
            }
            ReadHeader::Empty => {
                // Without a header, nothing says what is in the data.
                files.set_aside("its header is gone")?;
                files.begin(&self.machine, 0)?;
            }
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
                "the local store at {} is used from another time namespace, in which clocks differ; use another location",
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
