//! The machine that a process runs on, as far as processes that share a store must agree on it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::failure::Failure;

/// The running kernel, and the clock that it shows to this process.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Machine {
    boot_id: u128,
    time_namespace: u64,
}

impl Machine {
    /// A machine that was booted with this id: for tests. All machines with the same id are the same one.
    #[must_use]
    pub fn booted_as(boot_id: u128) -> Self {
        Self { boot_id, ..Self::this().unwrap_or(Self { boot_id, time_namespace: 0 }) }
    }

    pub(super) fn this() -> Result<Self, Failure> {
        const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
        let text = fs::read_to_string(BOOT_ID).unwrap_or_default();
        let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
        let boot_id = u128::from_str_radix(&digits, 16).map_err(|_| {
            Failure::denied(format!("a local store needs {BOOT_ID}, and it cannot be read; mount /proc"))
        })?;
        // Kernels before 5.6 have no such namespaces.
        let time_namespace = fs::metadata(Path::new("/proc/self/ns/time")).map_or(0, |file| file.ino());
        Ok(Self { boot_id, time_namespace })
    }

    pub(super) fn boot_id(&self) -> u128 {
        self.boot_id
    }

    pub(super) fn time_namespace(&self) -> u64 {
        self.time_namespace
    }
}
