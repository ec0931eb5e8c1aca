//! The folder of a store: its permissions, and what happens when it is not what it should be.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;

use locker_host::cache::SetOutcome;
use locker_host::{Cache, CacheError, ErrorKind, Local};
use nix::fcntl::{Flock, FlockArg};

use super::Process;
use super::process::of_user;
use crate::harness::{Command, LONG, until};

fn refused(path: &Path) -> CacheError {
    let refused = Local::open(path).map(|_| ()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Denied, "{refused}");
    refused
}

#[tokio::test]
async fn a_new_folder_and_its_files_are_for_one_user() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let local = Local::open(&path).unwrap();
    assert!(local.is_new() && !Local::open(&path).unwrap().is_new());
    local.try_set("job", "value", None).await.unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    for file in fs::read_dir(&path).unwrap() {
        assert_eq!(mode(&file.unwrap().path()), 0o600);
    }
}

#[tokio::test]
async fn a_folder_for_a_group_has_files_and_sockets_for_the_group() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o2770)).unwrap();
    let local = Local::open(folder.path()).unwrap();
    local.try_set("job", "value", Some(LONG)).await.unwrap();
    let waiter = local.clone();
    let waiter = tokio::spawn(async move { waiter.set_if_absent("job", "waiter", None, LONG).await });
    until(async || local.queue_len("job").await.unwrap() == 1).await;
    for file in fs::read_dir(folder.path()).unwrap() {
        assert_eq!(file.unwrap().metadata().unwrap().mode() & 0o777, 0o660);
    }
    waiter.abort();
}

#[test]
fn a_cleaner_of_old_files_finds_the_folder_locked() {
    let folder = tempfile::tempdir().unwrap();
    let _local = Local::open(folder.path()).unwrap();
    let cleaner = Flock::lock(File::open(folder.path()).unwrap(), FlockArg::LockExclusiveNonblock);
    assert!(cleaner.is_err());
}

#[tokio::test]
async fn the_location_depends_on_the_user_alone() {
    for (user, path) in [("0", "/var/lib/locker"), ("6432", "/var/tmp/locker-6432")] {
        let mut process = of_user(user, "true", "");
        assert_eq!(process.ask("path").await, path);
        assert!(process.ask("set job value 60000 0").await.starts_with("stored "));
    }
}

#[tokio::test]
async fn a_location_that_others_may_use_is_refused() {
    let refused = of_user("6432", "mkdir -m 777 /var/tmp/locker-6432", "").ask("get job").await;
    assert!(refused.starts_with("denied: ") && refused.contains("belongs to user 0"), "{refused}");
    let open = "mkdir -m 750 /var/tmp/locker-6432 && chown 6432 /var/tmp/locker-6432";
    let refused = of_user("6432", open, "").ask("get job").await;
    assert!(refused.starts_with("denied: ") && refused.contains("run chmod 700"), "{refused}");
    let link = "ln -s /mnt /var/tmp/locker-6432";
    let refused = of_user("6432", link, "").ask("get job").await;
    assert!(refused.starts_with("denied: ") && refused.contains("symbolic link"), "{refused}");
}

#[test]
fn a_symbolic_link_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("link");
    symlink(folder.path(), &link).unwrap();
    assert!(refused(&link).to_string().contains("symbolic link"));
}

#[tokio::test]
async fn a_file_that_is_a_symbolic_link_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("precious");
    fs::write(&target, "precious").unwrap();
    symlink(&target, folder.path().join("lock")).unwrap();
    refused(folder.path());
    assert_eq!(fs::read_to_string(target).unwrap(), "precious");
}

#[test]
fn a_folder_of_another_user_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    chown(folder.path(), Some(6432), None).unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    assert!(refused(folder.path()).to_string().contains("belongs to user 6432"));
}

#[test]
fn a_folder_for_the_files_of_all_programs_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o1777)).unwrap();
    assert!(refused(folder.path()).to_string().contains("name a folder in it"));
}

#[test]
fn a_folder_in_a_folder_that_does_not_exist_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let missing = Local::open(folder.path().join("missing/store")).map(|_| ()).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::Invalid, "{missing}");
}

#[test]
fn a_file_system_of_another_kind_is_refused() {
    assert!(refused(Path::new("/proc/self")).to_string().contains("proc"));
}

#[tokio::test]
async fn a_store_whose_folder_was_removed_makes_a_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let local = Local::open(&path).unwrap();
    local.try_set("job", "lost", Some(LONG)).await.unwrap();
    fs::remove_dir_all(&path).unwrap();
    let mut other = Process::start(&path);
    assert!(other.ask("set job value 60000 0").await.starts_with("stored "));
    // Both use the same new files.
    assert_eq!(local.get("job").await.unwrap().unwrap().value, "value");
}

#[tokio::test]
async fn waiters_whose_files_were_removed_are_served_from_the_new_ones() {
    let folder = tempfile::tempdir().unwrap();
    let local = Local::open(folder.path()).unwrap();
    local.try_set("job", "lost", Some(LONG)).await.unwrap();
    let mut waiter = Process::start(folder.path());
    waiter.tell("set job waiter 60000 60000").await;
    until(async || local.queue_len("job").await.unwrap() == 1).await;
    for file in fs::read_dir(folder.path()).unwrap() {
        fs::remove_file(file.unwrap().path()).unwrap();
    }
    assert!(waiter.answer().await.starts_with("stored "));
    assert_eq!(local.get("job").await.unwrap().unwrap().value, "waiter");
}

#[tokio::test]
async fn a_disk_that_is_full_is_an_error_and_stops_no_release() {
    let folder = tempfile::tempdir().unwrap();
    let script = r#"mount -t tmpfs -o size=2m tmpfs "$0" && mkdir "$0/first" "$0/second" && exec "$1" "$0/first""#;
    let process = Command::path("local-process");
    let arguments = ["--mount", "sh", "-c", script, folder.path().to_str().unwrap(), process.to_str().unwrap()];
    let mut process = Process::of(Command::of("unshare".into(), &arguments));
    assert!(process.ask("set job value 60000 0").await.starts_with("stored "));
    let filled = process.ask(&format!("fill {}", folder.path().join("rest").display())).await;
    assert_eq!(filled, "full");
    let full = process.ask(&format!("open {}", folder.path().join("second").display())).await;
    assert!(full.starts_with("unavailable: no space is left"), "{full}");
    let many = process.ask("fill-with-locks 100000").await;
    assert!(many.starts_with("unavailable: no space is left"), "{many}");
    assert_eq!(process.ask("delete job value").await, "Deleted");
    assert!(process.ask("set job value 60000 0").await.starts_with("stored "));
}

#[tokio::test]
async fn a_process_that_was_forked_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = Process::start(folder.path());
    assert!(process.ask("set job value 60000 0").await.starts_with("stored "));
    let forked = process.ask("fork").await;
    assert!(forked.starts_with("denied: this process was forked"), "{forked}");
}

#[tokio::test]
async fn a_key_may_have_any_characters_and_a_long_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let local = Local::open(folder.path()).unwrap();
    let keys = ["", "\0", "E\0\0\0\0\0\0\0\0", "Q", &"k".repeat(1024)];
    for key in keys {
        let outcome = local.try_set(key, "value", Some(LONG)).await.unwrap();
        assert!(matches!(outcome, SetOutcome::Stored(_)));
    }
    assert_eq!(local.keys().await.unwrap().len(), keys.len());
    let long = local.try_set(&"k".repeat(1025), "value", None).await.unwrap_err();
    assert_eq!(long.kind(), ErrorKind::Invalid);
}
