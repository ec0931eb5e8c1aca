//! Files that another program has changed.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use locker_host::cache::{DeleteOutcome, ExtendOutcome, SetOutcome};
use locker_host::{Cache, Local};

use super::Process;
use crate::harness::LONG;

/// Gives a header the checksum of its content.
pub(super) fn seal(header: &mut [u8; 128]) {
    let sum = header[..120]
        .iter()
        .fold(0xCBF2_9CE4_8422_2325_u64, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01B3));
    header[120..].copy_from_slice(&sum.to_le_bytes());
}

fn read_header(folder: &Path) -> (File, [u8; 128]) {
    let lock = File::options().read(true).write(true).open(folder.join("lock")).unwrap();
    let mut header = [0; 128];
    lock.read_exact_at(&mut header, 0).unwrap();
    (lock, header)
}

/// Sets the highest fence of a store.
pub(super) fn write_fence(folder: &Path, fence: u64) {
    let (lock, mut header) = read_header(folder);
    header[40..48].copy_from_slice(&fence.to_le_bytes());
    seal(&mut header);
    lock.write_all_at(&header, 0).unwrap();
}

fn set_aside(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    files.filter(|path| path.to_string_lossy().contains("damaged")).collect()
}

/// A store with some locks, and waiters in a queue.
async fn filled(folder: &Path) -> Local {
    let local = Local::open(folder).unwrap();
    for number in 0..200 {
        local.try_set(&format!("lock{number}"), &"value".repeat(10 * (number % 7)), Some(LONG)).await.unwrap();
    }
    for number in 0..50 {
        local.delete_if_equal(&format!("lock{number}"), &"value".repeat(10 * (number % 7))).await.unwrap();
    }
    local
}

#[tokio::test]
async fn a_file_that_is_cut_off_is_set_aside_and_no_holder_keeps_its_lock() {
    for length in [0, 1, 4096, 8192, 10_000, 20_000] {
        let folder = tempfile::tempdir().unwrap();
        let local = filled(folder.path()).await;
        local.try_set("job", "holder", Some(LONG)).await.unwrap();
        let file = File::options().write(true).open(folder.path().join("locks.mdb")).unwrap();
        file.set_len(length).unwrap();
        let mut other = Process::start(folder.path());
        assert!(other.ask("set job another 60000 0").await.starts_with("stored "), "{length}");
        assert_eq!(local.extend_if_equal("job", "holder", LONG).await.unwrap(), ExtendOutcome::Different);
        assert_eq!(set_aside(folder.path()).len(), 1);
    }
}

#[tokio::test]
async fn a_file_whose_bytes_were_flipped_gives_right_answers_or_is_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = fastrand::Rng::with_seed(5);
    let mut kept = 0;
    for round in 0..400 {
        let local = filled(folder.path()).await;
        local.try_set("job", "holder", Some(LONG)).await.unwrap();
        let file = File::options().read(true).write(true).open(folder.path().join("locks.mdb")).unwrap();
        // Most of what is in use lies at the beginning.
        let length = 40 * 4096;
        for _ in 0..random.u32(1..4) {
            let at = if random.bool() { random.u64(..length) } else { random.u64(..300) + 4096 * random.u64(..8) };
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            byte[0] ^= 1 << random.u32(..8);
            file.write_all_at(&byte, at).unwrap();
        }
        let mut other = Process::start(folder.path());
        let answer = other.ask("get job").await;
        let before = set_aside(folder.path()).len();
        match answer.as_str() {
            "absent" => assert_eq!(before, 1, "round {round}"),
            answer => {
                assert!(answer.starts_with("holder "), "round {round}: {answer}");
                kept += 1;
            }
        }
        // It goes on working, with many changes.
        assert_eq!(other.ask("names 50").await, "locked");
        assert!(other.end().await.success());
        for path in set_aside(folder.path()) {
            fs::remove_file(path).unwrap();
        }
        for key in local.keys().await.unwrap() {
            let entry = local.get(&key).await.unwrap().unwrap();
            assert_eq!(local.delete_if_equal(&key, &entry.value).await.unwrap(), DeleteOutcome::Deleted);
        }
    }
    assert!(kept > 0, "what is not in use may be flipped");
}

#[tokio::test]
async fn a_header_whose_bytes_were_flipped_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    for at in [0, 9, 20, 45, 100, 127] {
        let local = filled(folder.path()).await;
        let lock = File::options().read(true).write(true).open(folder.path().join("lock")).unwrap();
        let mut byte = [0];
        lock.read_exact_at(&mut byte, at).unwrap();
        lock.write_all_at(&[byte[0] ^ 0x40], at).unwrap();
        assert!(Process::start(folder.path()).ask("set job another 60000 0").await.starts_with("stored "), "{at}");
        assert!(local.keys().await.unwrap().len() == 1);
        local.delete_if_equal("job", "another").await.unwrap();
    }
}

#[tokio::test]
async fn a_file_that_another_one_replaced_counts_for_all_processes() {
    let folder = tempfile::tempdir().unwrap();
    let local = filled(folder.path()).await;
    let (data, moved) = (folder.path().join("locks.mdb"), folder.path().join("moved"));
    fs::rename(&data, &moved).unwrap();
    fs::write(&data, "something else").unwrap();
    assert_eq!(Process::start(folder.path()).ask("get lock150").await, "absent");
    assert_eq!(local.get("lock150").await.unwrap(), None);
}

#[tokio::test]
async fn a_file_whose_time_was_changed_is_checked_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let local = filled(folder.path()).await;
    let waiter = local.clone();
    local.try_set("job", "holder", Some(LONG)).await.unwrap();
    let waiter = tokio::spawn(async move { waiter.set_if_absent("job", "waiter", Some(LONG), LONG).await });
    crate::harness::until(async || local.queue_len("job").await.unwrap() == 1).await;
    let data = File::options().write(true).open(folder.path().join("locks.mdb")).unwrap();
    data.set_modified(std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1)).unwrap();
    local.delete_if_equal("job", "holder").await.unwrap();
    assert!(matches!(waiter.await.unwrap().unwrap(), SetOutcome::Stored(_)));
    assert_eq!(set_aside(folder.path()), Vec::<PathBuf>::new());
    assert_eq!(local.keys().await.unwrap().len(), 151);
}

#[tokio::test]
async fn processes_that_are_killed_before_they_write_the_header_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let local = filled(folder.path()).await;
    for number in 0..5 {
        let (lock, header) = read_header(folder.path());
        local.try_set(&format!("job{number}"), "value", Some(LONG)).await.unwrap();
        lock.write_all_at(&header, 0).unwrap();
        assert!(Process::start(folder.path()).ask(&format!("get job{number}")).await.starts_with("value "));
        assert_eq!(set_aside(folder.path()), Vec::<PathBuf>::new());
    }
}
