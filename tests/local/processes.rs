//! Several processes with one store.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, chown};
use std::time::{Duration, Instant};

use locker_host::cache::SetOutcome;
use locker_host::{Cache, Local};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::Process;
use super::process::of_user;
use crate::harness::{Command, LONG, SHORT, until};

/// A store, and this process as one of its users.
struct Store {
    local: Local,
    folder: TempDir,
}

impl Store {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { local: Local::open(folder.path()).unwrap(), folder }
    }

    fn process(&self) -> Process {
        Process::start(self.folder.path())
    }

    /// A process that waits for the lock `job` with its value.
    async fn waiter(&self, value: &str) -> Process {
        let before = self.local.queue_len("job").await.unwrap();
        let mut process = self.process();
        process.tell(&format!("set job {value} 60000 60000")).await;
        until(async || self.local.queue_len("job").await.unwrap() == before + 1).await;
        process
    }

    async fn take(&self, value: &str, ttl: Duration) {
        self.local.try_set("job", value, Some(ttl)).await.unwrap();
    }

    async fn release(&self, value: &str) {
        self.local.delete_if_equal("job", value).await.unwrap();
    }

    /// The sockets in the folder.
    fn sockets(&self) -> usize {
        let files = std::fs::read_dir(self.folder.path()).unwrap();
        files.filter(|file| file.as_ref().unwrap().file_name().to_string_lossy().starts_with('s')).count()
    }
}

#[tokio::test]
async fn processes_are_served_first_come_first_served() {
    let store = Store::new();
    store.take("here", LONG).await;
    let mut waiters = Vec::new();
    for number in 0..5 {
        waiters.push(store.waiter(&number.to_string()).await);
    }
    store.release("here").await;
    let mut last = 0;
    for (number, waiter) in waiters.iter_mut().enumerate() {
        let answer = waiter.answer().await;
        let fence: u64 = answer.strip_prefix("stored ").unwrap().parse().unwrap();
        assert!(fence > last, "{fence} after {last}");
        last = fence;
        waiter.ask(&format!("delete job {number}")).await;
    }
}

/// A process in namespaces of its own.
fn unshared(folder: &std::path::Path, namespaces: &[&str]) -> Process {
    let program = Command::path("local-process");
    let program = [program.to_str().unwrap(), folder.to_str().unwrap()];
    Process::of(Command::of("unshare".into(), &[namespaces, &program[..]].concat()))
}

#[tokio::test]
async fn containers_on_one_kernel_hand_locks_over() {
    let store = Store::new();
    store.take("here", LONG).await;
    let container = ["--pid", "--fork", "--kill-child", "--net", "--ipc", "--uts", "--mount-proc"];
    let mut first = unshared(store.folder.path(), &container);
    first.tell("set job first 60000 60000").await;
    until(async || store.local.queue_len("job").await.unwrap() == 1).await;
    let mut second = unshared(store.folder.path(), &container);
    second.tell("set job second 60000 60000").await;
    until(async || store.local.queue_len("job").await.unwrap() == 2).await;
    store.release("here").await;
    assert!(first.answer().await.starts_with("stored "));
    first.kill().await;
    store.release("first").await;
    assert!(second.answer().await.starts_with("stored "));
}

#[tokio::test]
async fn a_process_with_another_clock_is_refused() {
    let store = Store::new();
    store.take("here", LONG).await;
    let mut other = unshared(store.folder.path(), &["--time", "--monotonic", "100000", "--fork", "--kill-child"]);
    let refused = other.ask("get job").await;
    assert!(refused.starts_with("denied: ") && refused.contains("another time namespace"), "{refused}");
}

#[tokio::test]
async fn users_of_a_group_hand_locks_over() {
    let folder = tempfile::tempdir().unwrap();
    chown(folder.path(), None, Some(6432)).unwrap();
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o2770)).unwrap();
    let store = Store { local: Local::open(folder.path()).unwrap(), folder };
    store.take("here", LONG).await;
    let mut other = of_user("6432", "true", store.folder.path().to_str().unwrap());
    other.tell("set job other 60000 60000").await;
    until(async || store.local.queue_len("job").await.unwrap() == 1).await;
    store.release("here").await;
    assert!(other.answer().await.starts_with("stored "));
    let waits = store.local.clone();
    let waits = tokio::spawn(async move { waits.set_if_absent("job", "here", None, LONG).await.unwrap() });
    until(async || store.local.queue_len("job").await.unwrap() == 1).await;
    other.ask("delete job other").await;
    assert!(matches!(waits.await.unwrap(), SetOutcome::Stored(_)));
}

#[tokio::test]
async fn a_waiter_that_was_killed_is_skipped_at_once() {
    let store = Store::new();
    store.take("here", LONG).await;
    let first = store.waiter("first").await;
    let mut second = store.waiter("second").await;
    first.kill().await;
    store.release("here").await;
    assert!(second.answer().await.starts_with("stored "));
}

#[tokio::test]
async fn a_lock_whose_waiters_were_all_killed_is_free() {
    let store = Store::new();
    store.take("here", LONG).await;
    let mut waiters = Vec::new();
    for value in ["first", "second", "third"] {
        waiters.push(store.waiter(value).await);
    }
    for waiter in waiters {
        waiter.kill().await;
    }
    store.release("here").await;
    assert_eq!(store.local.get("job").await.unwrap(), None);
    assert_eq!((store.local.queue_len("job").await.unwrap(), store.sockets()), (0, 0));
}

#[tokio::test]
async fn a_holder_that_was_killed_loses_the_lock_when_its_time_is_over() {
    let store = Store::new();
    let mut holder = store.process();
    assert!(holder.ask("set job value 60000 0").await.starts_with("stored "));
    let mut waiter = store.waiter("waiter").await;
    assert!(holder.ask("extend job value 300").await.starts_with("Extended"));
    holder.kill().await;
    assert!(waiter.answer().await.starts_with("stored "));
}

#[tokio::test]
async fn a_waiter_behind_one_that_was_killed_is_served_after_an_expiry() {
    let store = Store::new();
    store.take("here", LONG).await;
    let head = store.waiter("head").await;
    let mut second = store.waiter("second").await;
    // Only the head is told.
    store.local.extend_if_equal("job", "here", SHORT).await.unwrap();
    head.kill().await;
    assert!(second.answer().await.starts_with("stored "));
}

#[tokio::test]
async fn a_waiter_notices_that_the_lock_was_extended_to_less() {
    let store = Store::new();
    store.take("here", LONG).await;
    let mut waiter = store.waiter("waiter").await;
    store.local.extend_if_equal("job", "here", SHORT).await.unwrap();
    assert!(waiter.answer().await.starts_with("stored "));
}

#[tokio::test]
async fn a_waiter_whose_value_is_withdrawn_by_another_process_is_told() {
    let store = Store::new();
    store.take("here", LONG).await;
    let mut waiter = store.waiter("waiter").await;
    store.local.withdraw("job", "waiter").await.unwrap();
    assert_eq!(waiter.answer().await, "unavailable: the request was withdrawn while it waited");
    assert_eq!(store.local.queue_len("job").await.unwrap(), 0);
}

#[tokio::test]
async fn a_waiter_that_is_stopped_costs_its_time_once() {
    let store = Store::new();
    store.take("here", LONG).await;
    let mut stopped = store.process();
    stopped.tell("set job stopped 300 60000").await;
    until(async || store.local.queue_len("job").await.unwrap() == 1).await;
    let mut second = store.waiter("second").await;
    stopped.signal(Signal::SIGSTOP);
    store.release("here").await;
    assert_eq!(store.local.get("job").await.unwrap().unwrap().value, "stopped");
    assert!(second.answer().await.starts_with("stored "));
    stopped.kill().await;
}

#[tokio::test]
async fn a_process_that_is_stopped_in_a_transaction_makes_calls_unavailable_and_no_longer_than_their_timeout() {
    let store = Store::new();
    let hurried = store.local.clone().timeout(Duration::from_millis(200));
    let mut busy = store.process();
    busy.tell("pairs 1000000000").await;
    loop {
        busy.signal(Signal::SIGSTOP);
        let started = Instant::now();
        match hurried.try_set("job", "value", None).await {
            Ok(_) => busy.signal(Signal::SIGCONT),
            Err(error) => {
                assert!(error.to_string().contains("is stopped in the middle of a step"), "{error}");
                assert!(started.elapsed() < LONG / 2);
                break;
            }
        }
        store.local.withdraw("job", "value").await.unwrap();
    }
    busy.signal(Signal::SIGCONT);
    // The call that failed takes no effect later.
    assert_eq!(store.local.get("job").await.unwrap(), None);
}

#[tokio::test]
async fn increments_of_several_processes_are_not_lost() {
    let store = Store::new();
    let file = store.folder.path().join("number");
    std::fs::write(&file, "0").unwrap();
    let mut processes: Vec<_> = (0..4).map(|_| store.process()).collect();
    for process in &mut processes {
        process.tell(&format!("count {} 100", file.display())).await;
    }
    for process in &mut processes {
        assert_eq!(process.answer().await, "counted");
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "400");
}

#[tokio::test]
async fn processes_that_are_killed_at_any_instant_leave_nothing_torn_and_nothing_stuck() {
    let store = Store::new();
    let mut random = fastrand::Rng::with_seed(7);
    for round in 0..150 {
        let mut processes: Vec<_> = (0..3).map(|_| store.process()).collect();
        for (number, process) in processes.iter_mut().enumerate() {
            process.tell(&format!("storm {}", 10 * round + number)).await;
        }
        tokio::time::sleep(Duration::from_micros(random.u64(2000..12_000))).await;
        for process in processes {
            process.kill().await;
        }
        // Every lock can be had again, whatever the dead held or waited for.
        for name in ["storm0", "storm1", "storm2"] {
            let outcome = store.local.set_if_absent(name, "here", Some(LONG), LONG).await.unwrap();
            assert!(matches!(outcome, SetOutcome::Stored(_)), "{outcome:?}");
            assert_eq!(store.local.queue_len(name).await.unwrap(), 0);
            store.local.delete_if_equal(name, "here").await.unwrap();
        }
    }
    let aside = std::fs::read_dir(store.folder.path()).unwrap();
    let aside = aside.filter(|file| file.as_ref().unwrap().file_name().to_string_lossy().contains("damaged"));
    assert_eq!(aside.count(), 0);
}

#[tokio::test]
async fn sockets_are_gone_when_waiters_are() {
    let store = Store::new();
    store.take("here", LONG).await;
    let mut ends = store.process();
    ends.tell("set job ends 60000 60000").await;
    until(async || store.sockets() == 1).await;
    store.release("here").await;
    assert!(ends.answer().await.starts_with("stored "));
    until(async || store.sockets() == 0).await;
    assert!(ends.end().await.success());
    store.waiter("killed").await.kill().await;
    assert_eq!(store.sockets(), 1);
    // The next process removes it.
    store.process().ask("get job").await;
    assert_eq!(store.sockets(), 0);
}

#[tokio::test]
async fn a_file_does_not_grow_with_the_number_of_names() {
    let store = Store::new();
    let size = || std::fs::metadata(store.folder.path().join("locks.mdb")).unwrap().len();
    store.process().ask("names 100").await;
    let before = size();
    assert_eq!(store.process().ask("names 20000").await, "locked");
    assert_eq!(size(), before);
}

#[tokio::test]
async fn locks_that_are_left_to_expire_are_removed() {
    let store = Store::new();
    for number in 0..2000 {
        let name = number.to_string();
        store.local.try_set(&name, "value", Some(Duration::from_millis(1))).await.unwrap();
    }
    until(async || {
        store.local.get("any").await.unwrap();
        store.local.keys().await.unwrap().is_empty()
    })
    .await;
}
