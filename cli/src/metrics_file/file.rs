//! The file: it is read, and replaced in one step, by one process at a time.

use std::fs::{File, Permissions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::metrics::{Attempt, Totals};
use super::text::{self, Content};

/// Adds a call to the file. Answers what the user should know, if there is something.
pub(super) fn update(path: &Path, lock: &str, attempt: &Attempt) -> Result<Option<&'static str>> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let _turn = take_turn(folder);
    let (totals, note) = match read(path, lock)? {
        Content::Ours(totals) => (totals, None),
        Content::Damaged => (Totals::default(), Some("the file was damaged: its counters begin again at zero")),
        Content::OfAnotherLock => bail!("it has the metrics of another lock: give each job a file of its own"),
        Content::Foreign => bail!("the file there was not written by locker, and was left alone"),
    };
    // The collector reads files whose names end in .prom, and runs as another user.
    let mut builder = tempfile::Builder::new();
    builder.prefix(".locker-").suffix(".tmp").permissions(Permissions::from_mode(0o644));
    let mut file = builder.tempfile_in(folder)?;
    file.write_all(text::write(lock, &totals.with(attempt), attempt).as_bytes())?;
    file.persist(path)?;
    Ok(note)
}

fn read(path: &Path, lock: &str) -> Result<Content> {
    const LONGEST: u64 = 64 << 10;
    match path.metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Content::Ours(Totals::default())),
        Err(error) => return Err(error.into()),
        // A pipe could hold us up.
        Ok(found) if !found.is_file() => bail!("there is something else than a file"),
        Ok(found) if found.len() > LONGEST => return Ok(Content::Foreign),
        Ok(_) => {}
    }
    let mut bytes = Vec::new();
    let file = File::open(path).context("cannot read what is there")?;
    file.take(LONGEST).read_to_end(&mut bytes).context("cannot read what is there")?;
    Ok(text::read(&String::from_utf8_lossy(&bytes), lock))
}

/// Keeps other processes from updating files in this folder until it is dropped, so that no call is left uncounted. They are waited
/// for a moment only: the file is whole in any case.
fn take_turn(folder: &Path) -> Option<File> {
    const LONGEST: Duration = Duration::from_secs(1);
    let (turn, started) = (File::open(folder).ok()?, Instant::now());
    while turn.try_lock().is_err() && started.elapsed() < LONGEST {
        std::thread::sleep(Duration::from_millis(5));
    }
    Some(turn)
}
