//! What outlives a boot of the machine, and what does not.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use locker_host::cache::SetOutcome;
use locker_host::simulation::Machine;
use locker_host::{Cache, ErrorKind, Local};

use crate::harness::{LONG, until};

async fn fence(local: &Local) -> u64 {
    match local.try_set("job", "value", Some(LONG)).await.unwrap() {
        SetOutcome::Stored(stored) => stored.revision,
        SetOutcome::Occupied(entry) => panic!("{entry:?}"),
    }
}

fn open(path: &Path, boot: u128) -> Local {
    Local::open_on(path, Machine::booted_as(boot)).unwrap()
}

/// Ends the use of a store in this process.
async fn close(local: Local) {
    let path = local.path().to_owned();
    drop(local);
    // The last user lets go of the folder, in another thread.
    until(async || {
        let folder = fs::File::open(&path).unwrap();
        nix::fcntl::Flock::lock(folder, nix::fcntl::FlockArg::LockExclusiveNonblock).is_ok()
    })
    .await;
}

#[tokio::test]
async fn after_a_boot_all_locks_are_free_and_fences_increase() {
    let folder = tempfile::tempdir().unwrap();
    let mut last = 0;
    for boot in 1..5 {
        let local = open(folder.path(), boot);
        let fence = fence(&local).await;
        assert!(fence > last);
        last = fence;
        close(local).await;
    }
}

#[tokio::test]
async fn fences_increase_although_the_clock_was_set_back() {
    let folder = tempfile::tempdir().unwrap();
    let local = open(folder.path(), 1);
    let before = fence(&local).await;
    close(local).await;
    // As if the last fence had been granted a year from now.
    let ahead = before + 365 * 24 * 60 * 60 * 1_000_000;
    super::damage::write_fence(folder.path(), ahead);
    let local = open(folder.path(), 2);
    assert_eq!(fence(&local).await, ahead + 1);
}

#[tokio::test]
async fn a_second_kernel_is_refused_while_the_first_one_uses_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path(), 1);
    fence(&first).await;
    let refused = open(folder.path(), 2).try_set("job", "value", None).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Denied);
    assert!(refused.to_string().contains("another machine"), "{refused}");
    assert!(first.get("job").await.unwrap().is_some());
}

#[tokio::test]
async fn a_store_of_a_later_version_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let local = open(folder.path(), 1);
    fence(&local).await;
    let lock = fs::File::options().read(true).write(true).open(folder.path().join("lock")).unwrap();
    let mut header = [0; 128];
    lock.read_exact_at(&mut header, 0).unwrap();
    header[8] = 2;
    super::damage::seal(&mut header);
    lock.write_all_at(&header, 0).unwrap();
    let refused = local.get("job").await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Denied);
    assert!(refused.to_string().contains("later version"), "{refused}");
    let mut after = [0; 128];
    lock.read_exact_at(&mut after, 0).unwrap();
    assert_eq!(after, header);
}
