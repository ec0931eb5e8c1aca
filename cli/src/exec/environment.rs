//! What the command learns of its lock.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use locker_host::Guard;
use tempfile::NamedTempFile;

/// What the command finds in its environment.
pub(super) fn environment(guard: &Guard, token: Option<&NamedTempFile>) -> Vec<(&'static str, OsString)> {
    let lease = guard.lease();
    let mut environment = vec![
        ("LOCKER_NAME", guard.name().into()),
        ("LOCKER_FENCE", lease.fence.to_string().into()),
        ("LOCKER_TTL_MS", lease.ttl.as_millis().to_string().into()),
    ];
    environment.extend(token.map(|token| ("LOCKER_TOKEN_FILE", token.path().into())));
    environment
}

/// The token in a file that only this user can read, until it is dropped: environments show in lists of processes.
pub(super) fn token_file(guard: &Guard) -> Result<NamedTempFile> {
    let folder = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|folder| folder.is_dir());
    let folder = folder.unwrap_or_else(std::env::temp_dir);
    let mut file = tempfile::Builder::new().prefix("locker-").tempfile_in(&folder)?;
    write!(file, "{}", guard.lease().token.as_str())?;
    Ok(file)
}
