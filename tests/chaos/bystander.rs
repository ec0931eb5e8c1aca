//! A client of the local store that is left alone. It notices when a stopped process blocks the store.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use locker_host::{Cache, Local};
use tempfile::TempDir;
use tokio::time::sleep;

/// Shorter than what costs a holder its lease.
const TIMEOUT: Duration = Duration::from_secs(1);
const INTERVAL: Duration = Duration::from_millis(100);

pub(super) struct Bystander {
    folder: TempDir,
    local: Local,
    /// When calls failed.
    failures: Mutex<Vec<Instant>>,
}

impl Bystander {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().expect("there is room");
        let local = Local::open(folder.path()).expect("the folder is there").timeout(TIMEOUT);
        Self { folder, local, failures: Mutex::default() }
    }

    pub(super) fn url(&self) -> String {
        format!("local:{}", self.folder.path().display())
    }

    pub(super) async fn watch(&self) {
        loop {
            if self.local.get("bystander").await.is_err() {
                self.failures.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
            }
            sleep(INTERVAL).await;
        }
    }

    pub(super) fn was_blocked_since(&self, started: Instant) -> bool {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|failure| *failure >= started)
    }

    /// Processes that are killed and stopped must not damage the files, or block them for longer than they live.
    pub(super) async fn violation(&self) -> Option<String> {
        if let Err(error) = self.local.get("bystander").await {
            return Some(format!("the store does not answer after all processes have ended: {error}"));
        }
        let files = self.folder.path().read_dir().expect("the folder is there");
        let mut damaged = files.filter_map(|file| Some(file.ok()?.file_name().to_string_lossy().into_owned()));
        damaged.find(|name| name.contains("damaged")).map(|name| format!("the store was set aside as {name}"))
    }
}
