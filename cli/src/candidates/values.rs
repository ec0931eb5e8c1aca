//! The values of arguments.

use std::ffi::OsStr;

use clap::{Arg, Command, ValueHint};
use clap_complete::engine::{ArgValueCandidates, ArgValueCompleter, CompletionCandidate};

use super::names::Names;

/// What a shell completes better than `locker`.
const KINDS: [&str; 3] = ["files", "folders", "command"];

const CACHES: [(&str, &str); 8] = [
    ("local", "this user on this machine"),
    ("local:/", "the processes that may write to this folder"),
    ("memory", "this process alone"),
    ("redis://", "one server"),
    ("rediss://", "one server, over TLS"),
    ("redis+unix:///", "one server on this machine"),
    ("redis+cluster://", "a cluster"),
    ("redis+sentinel://", "the primary that sentinels know"),
];

/// What the arguments of `locker` accept.
pub(super) struct Values {
    pub(super) names: Names,
}

impl Values {
    /// Tells the arguments of a command and its subcommands which values they accept.
    pub(super) fn add_to(&self, command: Command) -> Command {
        let shown = command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set());
        let subcommands: Vec<_> =
            shown.map(|subcommand| (subcommand.get_name().to_owned(), about(subcommand))).collect();
        let command = command.mut_args(|arg| self.of(arg, &[]));
        command.mut_subcommands(|subcommand| subcommand.mut_args(|arg| self.of(arg, &subcommands)))
    }

    fn of(&self, arg: Arg, subcommands: &[(String, String)]) -> Arg {
        let fixed = |arg: Arg, values: &[(&str, &str)]| {
            described(arg, values.iter().map(|&(value, help)| (value.to_owned(), help.to_owned())).collect())
        };
        match arg.get_id().as_str() {
            "name" => {
                let names = self.names.clone();
                arg.add(ArgValueCompleter::new(move |word: &OsStr| names.beginning_with(word)))
            }
            "cache" => fixed(arg, &CACHES),
            "wait" => fixed(arg, &[("forever", "without an end")]),
            "limits" => fixed(arg, &[("max-memory-size=", "bytes"), ("timeout=", "time")]),
            "command" if arg.is_last_set() => by_shell(arg, "command"),
            "command" => described(arg, subcommands.to_vec()),
            "dirs" => by_shell(arg, "folders"),
            "arguments" => by_shell(arg, "files"),
            _ if arg.get_value_hint() == ValueHint::AnyPath => by_shell(arg, "files"),
            _ => arg,
        }
    }
}

fn about(command: &Command) -> String {
    command.get_about().map(ToString::to_string).unwrap_or_default()
}

/// Values with what they mean.
fn described(arg: Arg, values: Vec<(String, String)>) -> Arg {
    let candidate = |(value, help): &(String, String)| CompletionCandidate::new(value).help(Some(help.clone().into()));
    arg.add(ArgValueCandidates::new(move || values.iter().map(candidate).collect()))
}

/// Leaves the values to the shell: a mark stands for them.
fn by_shell(arg: Arg, kind: &'static str) -> Arg {
    arg.add(ArgValueCompleter::new(move |_: &OsStr| vec![CompletionCandidate::new("").tag(Some(kind.into()))]))
}

/// What the shell is to complete, if it is a mark.
pub(super) fn kind(candidate: &CompletionCandidate) -> Option<&'static str> {
    let tag = candidate.get_tag()?.to_string();
    KINDS.into_iter().find(|kind| *kind == tag)
}
