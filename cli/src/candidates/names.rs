//! The names of the locks in the store that a command line names.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::time::Duration;

use clap::{ArgMatches, CommandFactory};
use clap_complete::engine::CompletionCandidate;

use crate::args::Args;
use crate::cache::Store;

/// How long a prompt may stand still.
const LIMIT: Duration = Duration::from_secs(1);
/// More of them do not fit on a screen.
const MAX_NAMES: usize = 300;

#[derive(Clone)]
pub(super) struct Names {
    options: Option<ArgMatches>,
    is_escaped: bool,
}

impl Names {
    /// The names for a word after these words, in the store that they name.
    pub(super) fn new(before: &[String], is_escaped: bool) -> Self {
        let options = Args::command().ignore_errors(true).try_get_matches_from(before).ok();
        Self { options, is_escaped }
    }

    pub(super) fn beginning_with(&self, word: &OsStr) -> Vec<CompletionCandidate> {
        let (Some(word), Some(options)) = (word.to_str(), self.options.clone()) else { return Vec::new() };
        // After a dash, an option is meant.
        let is_name = |name: &str| self.is_escaped || !name.starts_with('-');
        if !is_name(word) {
            return Vec::new();
        }
        let mut names = within_limit(options);
        // Keys of other programs may contain anything.
        names.retain(|name| name.starts_with(word) && is_name(name) && !name.contains(char::is_control));
        names.sort();
        names.into_iter().take(MAX_NAMES).map(CompletionCandidate::new).collect()
    }
}

/// A thread that a store holds up ends with this process.
fn within_limit(options: ArgMatches) -> Vec<String> {
    let (answer, answered) = channel();
    _ = std::thread::Builder::new().spawn(move || answer.send(list(&options).unwrap_or_default()));
    answered.recv_timeout(LIMIT).unwrap_or_default()
}

fn list(options: &ArgMatches) -> Option<Vec<String>> {
    let text = |id| options.get_one::<String>(id).map(String::as_str);
    let path = |id| options.get_one::<PathBuf>(id).map(PathBuf::as_path);
    let store = Store {
        cache: text("cache"),
        prefix: text("prefix"),
        ca: path("ca"),
        certificate: path("cert").zip(path("key")),
        timeout: options.get_one("timeout").copied(),
    };
    if !store.exists() {
        return None;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    runtime.block_on(async { store.open().ok()?.keys().await.ok() })
}
