//! Any datagrams to the socket of a process that waits for a lock.
//!
//! An input is a list of datagrams, each after a byte with its length. The waiter has the number 1 in its process.

use std::path::{Path, PathBuf};

use locker_host::{Cache, Local};
use tokio::net::UnixDatagram;
use tokio::task::{JoinSet, LocalSet};

use super::driver::fuzz_part;
use super::local_process::Process;
use crate::harness::{LONG, until};

/// So many processes wait at a time.
const AT_A_TIME: usize = 8;
const MAX_DATAGRAMS: usize = 200;
/// A message says that the request of this waiter was withdrawn: kind and number. It is believed.
const WITHDRAWN: [u8; 9] = [2, 1, 0, 0, 0, 0, 0, 0, 0];
const MESSAGE_LENGTH: usize = 17;

fn datagrams(mut input: &[u8]) -> Vec<&[u8]> {
    let mut datagrams = Vec::new();
    while let Some((length, rest)) = input.split_first()
        && datagrams.len() < MAX_DATAGRAMS
    {
        let (datagram, rest) = rest.split_at(rest.len().min((*length).into()));
        datagrams.push(datagram);
        input = rest;
    }
    datagrams
}

fn socket(folder: &Path) -> PathBuf {
    let mut files = folder.read_dir().unwrap().map(|file| file.unwrap());
    files.find(|file| file.file_name().to_string_lossy().starts_with('s')).unwrap().path()
}

/// The waiter gets its lock when it is released, and no earlier.
async fn judge(input: &[u8]) {
    let folder = tempfile::tempdir().unwrap();
    let local = Local::open(folder.path()).unwrap();
    local.try_set("job", "holder", Some(LONG)).await.unwrap();
    let mut waiter = Process::start(folder.path());
    waiter.tell("set job waiter 60000 60000").await;
    until(async || local.queue_len("job").await.unwrap() == 1).await;
    let (socket, sender) = (socket(folder.path()), UnixDatagram::unbound().unwrap());
    let datagrams = datagrams(input);
    for datagram in &datagrams {
        // A waiter that was told that it has ended has no socket any more.
        _ = sender.send_to(datagram, &socket).await;
    }
    assert_eq!(local.get("job").await.unwrap().unwrap().value, "holder");
    local.delete_if_equal("job", "holder").await.unwrap();
    let is_withdrawal = |datagram: &&[u8]| datagram.len() >= MESSAGE_LENGTH && datagram.starts_with(&WITHDRAWN);
    let answer = waiter.answer().await;
    if answer.starts_with("stored ") {
        // The fence of a grant that the release made.
        let entry = local.get("job").await.unwrap().unwrap();
        assert_eq!((answer, &*entry.value), (format!("stored {}", entry.revision), "waiter"));
        assert_eq!(waiter.ask("delete job waiter").await, "Deleted");
    } else {
        assert!(datagrams.iter().any(is_withdrawal), "{answer}");
        assert_eq!(answer, "unavailable: the request was withdrawn while it waited");
    }
    waiter.end().await;
}

#[tokio::test]
async fn any_datagrams_to_a_waiter_are_survived() {
    let (here, mut parts) = (LocalSet::new(), JoinSet::new());
    for part in 0..AT_A_TIME {
        parts.spawn_local_on(fuzz_part("local-messages", part, AT_A_TIME, judge), &here);
    }
    here.run_until(parts.join_all()).await;
}
