//! `locker check`: shows what may keep locks from working on the store.

use anyhow::Result;
use locker_host::{Finding, Status};

use crate::cache::Store;
use crate::exit_code::Exit;
use crate::output::Report;

/// Reports all findings. A store that cannot even be opened is one.
pub(crate) async fn check(store: &Store<'_>, report: Report) -> Result<Exit> {
    let findings = match store.locker() {
        Ok(locker) => locker.check().await,
        Err(error) => vec![refused(&error)],
    };
    report.findings(&findings)?;
    let failed = findings.iter().any(|finding| finding.status == Status::Failure);
    Ok(if failed { Exit::Refused } else { Exit::Done })
}

/// Why the store cannot be opened.
fn refused(error: &anyhow::Error) -> Finding {
    let finding = Finding::failed("the store", "configuration", &format!("{error:#}"));
    if finding.remedy.is_some() { finding } else { finding.remedy("see what locker --help says of caches and files") }
}
