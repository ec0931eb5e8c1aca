//! The data file: an LMDB environment without its own locks, and without syncing, since no lock outlives a boot.

use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};

use heed::types::Bytes;
use heed::{Env, EnvFlags, EnvOpenOptions, RwTxn, WithoutTls};

use super::failure::Failure;

/// The most that the file can grow to: a million locks at the same time and more.
pub(super) const MAP_SIZE: usize = if cfg!(target_pointer_width = "64") { 1 << 30 } else { 1 << 27 };

pub(super) struct Database {
    env: Env<WithoutTls>,
    records: heed::Database<Bytes, Bytes>,
    file: std::fs::File,
    shown: PathBuf,
}

/// A transaction that may write.
pub(super) struct Transaction<'a> {
    txn: RwTxn<'a>,
    records: heed::Database<Bytes, Bytes>,
    /// Whether there is something to commit.
    pub(super) changed: bool,
    shown: &'a Path,
}

/// A key and its value.
pub(super) type Record = (Vec<u8>, Vec<u8>);

impl Database {
    /// Opens or creates the file at `path`; `shown` is its name for messages.
    pub(super) fn open(path: &Path, shown: &Path) -> Result<Self, Failure> {
        let failed = |error| Failure::of_database(shown, error);
        let mut options = EnvOpenOptions::new().read_txn_without_tls();
        let flags = EnvFlags::NO_LOCK | EnvFlags::NO_SUB_DIR | EnvFlags::NO_SYNC | EnvFlags::NO_META_SYNC;
        // SAFETY: each transaction of each process runs under the exclusive lock of the lock file, which replaces LMDB's own lock. Without syncing
        // a crash of the machine can damage the file; it is removed at the first use after a boot. Under the lock, a file that another
        // program has changed is checked before it is used, and one that is shorter is not.
        let env = unsafe {
            options.map_size(MAP_SIZE).max_readers(1).flags(flags);
            options.open(path)
        };
        let env = env.map_err(failed)?;
        let file = env.try_clone_inner_file().map_err(failed)?;
        let mut txn = env.write_txn().map_err(failed)?;
        let records = env.create_database(&mut txn, None).map_err(failed)?;
        txn.commit().map_err(failed)?;
        Ok(Self { env, records, file, shown: shown.to_owned() })
    }

    pub(super) fn begin(&self) -> Result<Transaction<'_>, Failure> {
        let txn = self.env.write_txn().map_err(|error| Failure::of_database(&self.shown, error))?;
        Ok(Transaction { txn, records: self.records, changed: false, shown: &self.shown })
    }

    pub(super) fn metadata(&self) -> io::Result<Metadata> {
        self.file.metadata()
    }
}

impl Transaction<'_> {
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<&[u8]>, Failure> {
        self.records.get(&self.txn, key).map_err(|error| self.failed(error))
    }

    pub(super) fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), Failure> {
        self.changed = true;
        self.records.put(&mut self.txn, key, value).map_err(|error| Failure::of_database(self.shown, error))
    }

    pub(super) fn delete(&mut self, key: &[u8]) -> Result<(), Failure> {
        self.changed = true;
        let deleted = self.records.delete(&mut self.txn, key);
        deleted.map(|_| ()).map_err(|error| Failure::of_database(self.shown, error))
    }

    /// The first of the records whose keys begin like this.
    pub(super) fn first(&self, prefix: &[u8]) -> Result<Option<Record>, Failure> {
        self.found(self.records.get_greater_than_or_equal_to(&self.txn, prefix), prefix)
    }

    /// The next of these records after a key.
    pub(super) fn after(&self, key: &[u8], prefix: &[u8]) -> Result<Option<Record>, Failure> {
        self.found(self.records.get_greater_than(&self.txn, key), prefix)
    }

    /// The last of these records before a key.
    pub(super) fn before(&self, key: &[u8], prefix: &[u8]) -> Result<Option<Record>, Failure> {
        self.found(self.records.get_lower_than(&self.txn, key), prefix)
    }

    fn found(&self, found: heed::Result<Option<(&[u8], &[u8])>>, prefix: &[u8]) -> Result<Option<Record>, Failure> {
        let found = found.map_err(|error| self.failed(error))?;
        Ok(found.filter(|(key, _)| key.starts_with(prefix)).map(|(key, value)| (key.to_owned(), value.to_owned())))
    }

    /// Answers the number of the transaction.
    pub(super) fn commit(self) -> Result<u64, Failure> {
        let number = self.txn.id() as u64;
        self.txn.commit().map_err(|error| Failure::of_database(self.shown, error))?;
        Ok(number)
    }

    fn failed(&self, error: heed::Error) -> Failure {
        Failure::of_database(self.shown, error)
    }
}
