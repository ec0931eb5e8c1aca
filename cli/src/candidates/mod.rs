//! What may come next on a command line: the completions of the shells ask for it.
//!
//! - `line`: a line of bash, and what bash may insert; `values`: the values of arguments; `names`: the names of locks.
//! - `locker.bash`, `locker.zsh`, `locker.fish`: what the shells load. They call this.

mod line;
mod names;
mod values;

use std::ffi::OsString;

use clap::CommandFactory;
use clap_complete::Shell;
use clap_complete::engine::{CompletionCandidate, complete};

use self::line::Line;
use self::names::Names;
use self::values::Values;
use crate::args::Args;

/// What a shell loads to complete the command line of `locker`.
pub(crate) fn completions(shell: Shell) -> Vec<u8> {
    match shell {
        Shell::Bash => include_bytes!("locker.bash").to_vec(),
        Shell::Fish => include_bytes!("locker.fish").to_vec(),
        Shell::Zsh => include_bytes!("locker.zsh").to_vec(),
        shell => {
            let mut completions = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "locker", &mut completions);
            completions
        }
    }
}

/// The answer to a shell: a line that says what is asked for, `values`, `files`, `folders` or `command`, and then each value in a line.
///
/// `words` are all up to the cursor. Bash does not split its line into words: it sends the line, and the characters at which it breaks words.
pub(crate) fn candidates(shell: Shell, words: Vec<OsString>) -> String {
    let mut words: Vec<String> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    if shell != Shell::Bash {
        return answer(words, |candidate| {
            let help = candidate.get_help().map(ToString::to_string).unwrap_or_default();
            // Fish would insert the path of a home.
            let value =
                candidate.get_value().to_str().filter(|value| shell != Shell::Fish || !value.starts_with('~'))?;
            Some(format!("{value}\t{}", help.lines().next().unwrap_or_default()))
        });
    }
    let breaks = words.pop().unwrap_or_default();
    let line = Line::new(&words.pop().unwrap_or_default(), &breaks);
    answer(line.words.clone(), |candidate| line.insertion(candidate.get_value().to_str()?))
}

fn answer(words: Vec<String>, shown: impl Fn(&CompletionCandidate) -> Option<String>) -> String {
    let Some((word, before)) = words.split_last() else { return String::new() };
    let is_escaped = before.iter().any(|word| word == "--");
    let mut command = Values { names: Names::new(before, is_escaped) }.add_to(Args::command());
    let index = before.len();
    let words = words.iter().map(OsString::from).collect();
    let mut found = complete(&mut command, words, index, None).unwrap_or_default();
    // All options are too many to be of use beside values.
    if !word.starts_with('-') && found.iter().any(|candidate| !is_option(candidate)) {
        found.retain(|candidate| !is_option(candidate));
    }
    let kind = found.iter().find_map(values::kind).unwrap_or("values");
    let values = found.iter().filter(|candidate| values::kind(candidate).is_none()).filter_map(shown);
    let lines: Vec<_> = std::iter::once(kind.to_owned()).chain(values).collect();
    lines.join("\n") + "\n"
}

fn is_option(candidate: &CompletionCandidate) -> bool {
    candidate.get_id().is_some_and(|id| id.starts_with("arg::"))
}
