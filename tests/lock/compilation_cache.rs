//! Compiled code that is kept for the next process.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::harness::Command;

/// Runs a command under a lock, with this folder for caches.
async fn exec(caches: &Path) {
    let ran = Command::new(&["exec", "job", "--", "true"]).env("XDG_CACHE_HOME", caches.to_str().unwrap()).run().await;
    assert!(ran.code == Some(0) && ran.stderr.is_empty(), "{ran:?}");
}

fn kept(caches: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(caches.join("locker")).into_iter().flatten();
    files.map(|file| file.unwrap().path()).collect()
}

#[tokio::test]
async fn code_is_kept_once_and_for_this_user_alone() {
    let caches = tempfile::tempdir().unwrap();
    exec(caches.path()).await;
    let first = kept(caches.path());
    let written = fs::metadata(&first[0]).unwrap().modified().unwrap();
    exec(caches.path()).await;
    assert_eq!((first.len(), &kept(caches.path())), (1, &first));
    assert_eq!(fs::metadata(&first[0]).unwrap().modified().unwrap(), written);
    assert_eq!(fs::metadata(caches.path().join("locker")).unwrap().permissions().mode() & 0o777, 0o700);
}

#[tokio::test]
async fn what_does_not_fit_is_compiled_again() {
    let caches = tempfile::tempdir().unwrap();
    exec(caches.path()).await;
    let file = &kept(caches.path())[0];
    let whole = fs::read(file).unwrap();
    fs::write(file, "no code").unwrap();
    exec(caches.path()).await;
    assert_eq!(fs::read(file).unwrap().len(), whole.len());
}

#[tokio::test]
async fn a_folder_that_others_can_write_to_is_not_used() {
    let caches = tempfile::tempdir().unwrap();
    let folder = caches.path().join("locker");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, Permissions::from_mode(0o777)).unwrap();
    exec(caches.path()).await;
    assert!(kept(caches.path()).is_empty());
}

#[tokio::test]
async fn without_a_folder_it_works_as_well() {
    exec(Path::new("/dev/null/caches")).await;
}

#[tokio::test]
async fn what_nobody_has_used_for_a_month_is_removed() {
    let caches = tempfile::tempdir().unwrap();
    exec(caches.path()).await;
    let (old, used) = (caches.path().join("locker/old"), kept(caches.path()).remove(0));
    fs::write(&old, "").unwrap();
    let long_ago = SystemTime::now() - Duration::from_secs(40 * 24 * 60 * 60);
    for file in [&old, &used] {
        fs::File::options().write(true).open(file).unwrap().set_modified(long_ago).unwrap();
    }
    // This one is used, and so it is kept when another is written.
    exec(caches.path()).await;
    fs::rename(&used, caches.path().join("locker/used")).unwrap();
    exec(caches.path()).await;
    assert!(!old.exists() && caches.path().join("locker/used").exists());
}
