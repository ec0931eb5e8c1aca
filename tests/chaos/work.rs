//! The command that runs under the lock. It has the lock's file to itself, or tells that it has not.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// What a command exits with that is not alone.
pub(super) const OVERLAP: u8 = 99;

#[derive(clap::Args)]
pub(super) struct Work {
    /// The folder of the lock
    folder: PathBuf,
    /// Which of the commands this is
    name: String,
    /// How long the work takes, in milliseconds
    millis: u64,
    /// How it exits
    code: u8,
}

/// What a command wrote down, by the monotonic clock.
pub(super) struct Note {
    pub(super) name: String,
    pub(super) what: String,
    pub(super) at: u128,
}

impl Work {
    pub(super) fn run(self) -> ExitCode {
        // The system frees it when this process dies, however it does.
        let alone = File::create(self.folder.join("alone")).expect("the folder is there");
        if alone.try_lock().is_err() {
            self.note("overlap");
            return OVERLAP.into();
        }
        self.note("start");
        std::thread::sleep(Duration::from_millis(self.millis));
        self.note("end");
        self.code.into()
    }

    fn note(&self, what: &str) {
        let at = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC).expect("there is a clock")).as_nanos();
        let notes = OpenOptions::new().create(true).append(true).open(self.folder.join("notes"));
        let mut notes = notes.expect("the folder is there");
        notes.write_all(format!("{} {what} {at}\n", self.name).as_bytes()).expect("there is room");
    }
}

/// What the commands of a round wrote down, in order.
pub(super) fn notes(folder: &Path) -> Vec<Note> {
    let notes = std::fs::read_to_string(folder.join("notes")).unwrap_or_default();
    notes.lines().map(note).collect()
}

fn note(line: &str) -> Note {
    let mut words = line.split(' ').map(str::to_owned);
    let mut next = || words.next().expect("a note has three words");
    Note { name: next(), what: next(), at: next().parse().expect("it is a number") }
}
