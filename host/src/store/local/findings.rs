//! The check of a local store: where it is, who may use it, and what keeps it from working. What is worse than a warning is refused when
//! the store is opened.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::sys::statvfs::statvfs;

use super::failure::Failure;
use super::machine::Machine;
use super::{Local, filesystem};
use crate::store::measure::{measure, unused_key};
use crate::store::{CacheError, Finding, Status};

/// Less than this is soon used up.
const LITTLE_SPACE: u64 = 16 << 20;

impl Local {
    pub(super) async fn findings(&self) -> Vec<Finding> {
        let path = self.path();
        let store = format!("the local store at {}", path.display());
        let parts = [
            ("location", location(path)),
            ("file system", file_system(path)),
            ("free space", free_space(path)),
            ("boot", boot(self.is_new)),
        ];
        let finding = |(subject, part): (&str, Result<Part, Failure>)| match part {
            Ok((status, found, None)) => Finding::new(&store, subject, status, found),
            Ok((status, found, Some(remedy))) => Finding::new(&store, subject, status, found).remedy(remedy),
            Err(failure) => {
                Finding::of_error(&store, subject, &CacheError::from(failure)).or_remedy("look at the folder")
            }
        };
        let mut findings: Vec<_> = parts.into_iter().map(finding).collect();
        findings.extend(measure(self, &store, &unused_key()).await);
        findings
    }
}

/// A status, what was found, and the remedy.
type Part = (Status, String, Option<&'static str>);

fn location(path: &Path) -> Result<Part, Failure> {
    let metadata = path.metadata().map_err(|error| Failure::of_system(path, &error))?;
    let mode = metadata.mode() & 0o7777;
    let shared = match (mode & 0o020, mode & 0o002) {
        (_, 2) => "all users".to_owned(),
        (0, _) => "its owner alone".to_owned(),
        _ => format!("its owner and group {}", metadata.gid()),
    };
    Ok((Status::Ok, format!("belongs to user {}, with mode {mode:04o}: for {shared}", metadata.uid()), None))
}

fn file_system(path: &Path) -> Result<Part, Failure> {
    let folder = File::open(path).map_err(|error| Failure::of_system(path, &error))?;
    filesystem::check(&folder, path)?;
    Ok((Status::Ok, filesystem::name(&folder, path)?, None))
}

fn free_space(path: &Path) -> Result<Part, Failure> {
    let disk = statvfs(path).map_err(|error| Failure::of_system(path, &error.into()))?;
    #[allow(clippy::unnecessary_cast, clippy::useless_conversion, reason = "the types depend on the architecture")]
    let bytes = u64::from(disk.blocks_available()).saturating_mul(disk.fragment_size() as u64);
    let found = format!("{} MiB", bytes >> 20);
    if bytes < LITTLE_SPACE {
        return Ok((Status::Warning, found, Some("free some: a full disk refuses new locks, and still releases")));
    }
    Ok((Status::Ok, found, None))
}

fn boot(is_new: bool) -> Result<Part, Failure> {
    let boot = Machine::this()?.boot_id();
    let age = if is_new { "is new" } else { "existed before" };
    Ok((Status::Ok, format!("the machine was booted as {boot:032x}, and the store {age}"), None))
}
