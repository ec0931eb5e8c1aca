//! The stores that this process has open. A path is opened once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use nix::sys::signal::{SigSet, SigmaskHow};

use super::calls::Calls;
use super::failure::Failure;
use super::folder::Folder;
use super::machine::Machine;
use super::store::Store;
use super::worker::Worker;

type Place = (PathBuf, Machine);

static OPEN: Mutex<BTreeMap<Place, Entry>> = Mutex::new(BTreeMap::new());

struct Entry {
    calls: Arc<Calls>,
    users: usize,
}

/// One user of an open store. The last one to go closes it.
pub(super) struct User {
    pub(super) calls: Arc<Calls>,
    place: Place,
}

impl User {
    /// Opens the store in a folder. The path must be canonical.
    pub(super) fn new(folder: Folder, machine: Machine, is_private: bool) -> Result<Self, Failure> {
        check_process()?;
        let place = (folder.path.clone(), machine);
        let mut open = open();
        if let Some(entry) = open.get_mut(&place) {
            entry.users += 1;
            return Ok(Self { calls: entry.calls.clone(), place });
        }
        let failed = |error: std::io::Error| Failure::of_system(&place.0, &error);
        let calls = Arc::new(Calls::new().map_err(|error| failed(error.into()))?);
        let store = Store::new(&place.0, folder, place.1.clone(), is_private)?;
        let (worker, of_thread) = (Worker::new(store, calls.clone()), place.clone());
        // Handlers of the program's signals must not run in a thread that has the lock. It inherits the mask.
        let signals = SigSet::all().thread_swap_mask(SigmaskHow::SIG_BLOCK).map_err(|error| failed(error.into()))?;
        let thread = thread::Builder::new()
            .name("locker-local".to_owned())
            .spawn(move || worker.run(|close| forget(&of_thread, close)));
        _ = signals.thread_set_mask();
        thread.map_err(failed)?;
        open.insert(place.clone(), Entry { calls: calls.clone(), users: 1 });
        Ok(Self { calls, place })
    }

    pub(super) fn path(&self) -> &Path {
        &self.place.0
    }
}

impl Drop for User {
    fn drop(&mut self) {
        if check_process().is_err() {
            return;
        }
        if let Some(entry) = open().get_mut(&self.place) {
            entry.users -= 1;
            if entry.users == 0 {
                entry.calls.close();
            }
        }
    }
}

/// After a fork, the child has the files, but not the thread, and must not use what its parent wrote half of.
pub(super) fn check_process() -> Result<(), Failure> {
    static PROCESS: OnceLock<u32> = OnceLock::new();
    let this = std::process::id();
    if *PROCESS.get_or_init(|| this) == this {
        return Ok(());
    }
    Err(Failure::denied("this process was forked from one that used a local store; fork first, and use the store then"))
}

/// Closes and forgets a store that has no users. Answers whether it did.
fn forget(place: &Place, close: &mut dyn FnMut()) -> bool {
    let mut open = open();
    if open.get(place).is_some_and(|entry| entry.users == 0) {
        close();
        open.remove(place);
        return true;
    }
    false
}

fn open() -> MutexGuard<'static, BTreeMap<Place, Entry>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}
