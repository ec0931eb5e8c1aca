//! Any bytes in the files of a local store.
//!
//! The first line of an input has words: the file (`lock`, otherwise the data), how it is changed (`instead`, `cut`, `flip`, otherwise the bytes are
//! written over what is there), a number, and flags. The rest are the bytes.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::rc::Rc;

use tokio::task::{JoinSet, LocalSet};

use super::driver::fuzz_part;
use super::local_process::{Process, is_refusal};
use crate::harness::until;

const LOCK: &str = "lock";
const DATA: &str = "locks.mdb";
/// So many stores are damaged at a time.
const AT_A_TIME: usize = 4;
/// Beyond what a store allocates.
const LONGEST: u64 = 1 << 21;

/// The files of a store with locks on several pages, large values, free pages and a waiter that has died.
struct Files {
    lock: Vec<u8>,
    data: Vec<u8>,
    fence: u64,
}

impl Files {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut process = Process::start(folder.path());
        for number in 0..60 {
            let value = "value".repeat(1 + number % 11 * (number % 7) * 15);
            process.ask(&format!("set lock{number} {value} 3600000 0")).await;
            if number % 3 == 0 {
                process.ask(&format!("delete lock{number} {value}")).await;
            }
        }
        let fence = stored(&process.ask("set job holder 3600000 0").await).unwrap();
        let mut waiter = Process::start(folder.path());
        waiter.tell("set job waiter 3600000 3600000").await;
        let local = locker_host::Local::open(folder.path()).unwrap();
        until(async || local.queue_len("job").await.unwrap() == 1).await;
        waiter.kill().await;
        process.end().await;
        let read = |name| fs::read(folder.path().join(name)).unwrap();
        Self { lock: read(LOCK), data: read(DATA), fence }
    }

    fn write(&self, folder: &Path) {
        fs::write(folder.join(LOCK), &self.lock).unwrap();
        fs::write(folder.join(DATA), &self.data).unwrap();
    }
}

/// The fence of an answer to `set`.
fn stored(answer: &str) -> Option<u64> {
    answer.strip_prefix("stored ").map(|fence| fence.parse().unwrap())
}

/// What is done to one of the files.
struct Damage<'a> {
    file: &'static str,
    words: Vec<&'a [u8]>,
    at: u64,
    bytes: &'a [u8],
}

impl<'a> Damage<'a> {
    fn of(input: &'a [u8]) -> Self {
        let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(0);
        let (line, bytes) = (&input[..end], input.get(end + 1..).unwrap_or(input));
        let words: Vec<_> = line.split(|byte| *byte == b' ').collect();
        let number = words.iter().find_map(|word| str::from_utf8(word).ok()?.parse::<u64>().ok());
        let file = if words.contains(&LOCK.as_bytes()) { LOCK } else { DATA };
        Self { file, at: number.unwrap_or(0) % LONGEST, words, bytes }
    }

    fn has(&self, word: &str) -> bool {
        self.words.contains(&word.as_bytes())
    }

    /// Whether the header gets the checksum of its new content, which makes it a forgery.
    fn is_sealed(&self) -> bool {
        self.file == LOCK && self.has("sealed")
    }

    fn inflict(&self, folder: &Path) {
        let path = folder.join(self.file);
        if self.has("instead") {
            let new = folder.join("new");
            fs::write(&new, self.bytes).unwrap();
            fs::rename(new, &path).unwrap();
        }
        let file = File::options().read(true).write(true).open(&path).unwrap();
        if self.has("cut") {
            file.set_len(self.at).unwrap();
        }
        let mut bytes = self.bytes.to_vec();
        if self.has("flip") {
            let mut old = vec![0; bytes.len()];
            let read = file.read_at(&mut old, self.at).unwrap();
            bytes.iter_mut().zip(&old[..read]).for_each(|(byte, old)| *byte ^= old);
        }
        if !self.has("instead") {
            file.write_all_at(&bytes, self.at).unwrap();
        }
        let mut header = [0; 128];
        if self.is_sealed() && file.read_exact_at(&mut header, 0).is_ok() {
            seal(&mut header);
            file.write_all_at(&header, 0).unwrap();
        }
    }
}

/// Gives a header the checksum of its content.
fn seal(header: &mut [u8; 128]) {
    let sum = header[..120]
        .iter()
        .fold(0xCBF2_9CE4_8422_2325_u64, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01B3));
    header[120..].copy_from_slice(&sum.to_le_bytes());
}

/// Whether a store may have lost its locks: it says that it has set a file aside, or has a header that tells it to begin anew.
fn may_be_new(folder: &Path, damage: &Damage<'_>, had_header: bool) -> bool {
    let mut files = folder.read_dir().unwrap().map(|file| file.unwrap().file_name());
    let was_set_aside = files.any(|name| name.to_string_lossy().contains("damaged"));
    was_set_aside || damage.is_sealed() || !had_header
}

/// Answers are errors or truths, whatever the files contain.
async fn judge(files: &Files, input: &[u8]) {
    let (folder, damage) = (tempfile::tempdir().unwrap(), Damage::of(input));
    files.write(folder.path());
    let mut process = Process::start(folder.path());
    if damage.has("open") {
        assert_eq!(process.ask("get job").await, format!("holder {}", files.fence));
    }
    damage.inflict(folder.path());
    let had_header = fs::metadata(folder.path().join(LOCK)).unwrap().len() > 0;

    let before = process.ask("get job").await;
    let set = process.ask("set job other 60000 0").await;
    let extended = process.ask("extend job holder 60000").await;
    let locked = process.ask("names 20").await;
    let after = process.ask("get job").await;
    let mut other = Process::start(folder.path());
    let there = other.ask("get job").await;

    let answers = format!("{before}\n{set}\n{extended}\n{locked}\n{after}\n{there}");
    let may_be_new = may_be_new(folder.path(), &damage, had_header);
    let holder = format!("holder {}", files.fence);
    assert!(before == holder || is_refusal(&before) || before == "absent" && may_be_new, "{answers}");
    let fence = stored(&set);
    if let Some(fence) = fence {
        assert!(may_be_new && fence > files.fence, "{answers}");
        assert!(extended == "Different" || is_refusal(&extended), "{answers}");
    } else {
        assert!(set == "occupied holder" || is_refusal(&set), "{answers}");
        assert!(extended.starts_with("Extended") || is_refusal(&extended) || may_be_new, "{answers}");
    }
    assert!(locked == "locked" || is_refusal(&locked), "{answers}");
    let owner = fence.map_or(holder, |fence| format!("other {fence}"));
    for answer in [&after, &there] {
        assert!(*answer == owner || is_refusal(answer) || answer == "absent" && may_be_new, "{answers}");
    }
    process.end().await;
    other.end().await;
}

#[tokio::test]
async fn any_bytes_in_the_files_of_a_local_store_are_survived() {
    let (files, here, mut parts) = (Rc::new(Files::new().await), LocalSet::new(), JoinSet::new());
    for part in 0..AT_A_TIME {
        let files = files.clone();
        parts.spawn_local_on(
            fuzz_part("local-files", part, AT_A_TIME, async move |bytes: &[u8]| judge(&files, bytes).await),
            &here,
        );
    }
    here.run_until(parts.join_all()).await;
}
