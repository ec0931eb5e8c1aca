//! The completions, in real shells on real terminals.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use locker_host::LockOptions;
use nix::sys::signal::{Signal, kill};
use rstest::rstest;
use tempfile::TempDir;

use super::terminal::Session;
use crate::harness::{Command, LONG, RedisServer, granted, until};

/// A shell that has the completions, and in which `locker` is a function that shows its arguments.
struct Shell {
    session: Session,
    folder: TempDir,
}

/// How a shell is taught, beside the package bash-completion and without it.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Bash,
    BashWithPackage,
    Fish,
    Zsh,
}

use Kind::{Bash, BashWithPackage, Fish, Zsh};

/// Loads the completions, unless there is a file that the shell loads by itself, as after the installation of a package.
const POSIX: &str = r#"
[ "$AS_FILE" ] || source <(command locker completions $SHELL_NAME)
locker() { printf 'ran'; printf ' <%s>' "$@"; printf ' end\n'; }
PS1='ready> '"#;
const FISH: &str = r"
set -q AS_FILE; or command locker completions fish | source
function locker; printf ran; printf ' <%s>' $argv; printf ' end\n'; end
function fish_prompt; echo 'ready> '; end";

impl Kind {
    /// The shell's file of settings, their content, and how it starts with them in the current folder.
    fn settings(self) -> (&'static str, String, &'static str) {
        let bash = "exec bash --noprofile --rcfile .rc -i";
        match self {
            Bash => (".rc", format!("SHELL_NAME=bash; {POSIX}"), bash),
            BashWithPackage => {
                (".rc", format!("source /usr/share/bash-completion/bash_completion; SHELL_NAME=bash; {POSIX}"), bash)
            }
            Fish => ("fish/config.fish", FISH.to_owned(), "exec fish -i"),
            Zsh => {
                let compinit = "fpath=($PWD $fpath); autoload -Uz compinit; compinit -u -D; SHELL_NAME=zsh";
                (".zshrc", format!("{compinit}; {POSIX}"), "exec zsh -d -i")
            }
        }
    }
}

impl Shell {
    async fn start(kind: Kind, names: &[&str]) -> Self {
        Self::start_after(":", kind, names).await
    }

    /// Starts it after some words of a script, when there are locks of these names.
    async fn start_after(script: &str, kind: Kind, names: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().display();
        let (file, settings, start) = kind.settings();
        fs::create_dir(folder.path().join("fish")).unwrap();
        fs::write(folder.path().join(file), settings).unwrap();
        let program = folder.path().join("unique-program");
        fs::write(&program, "").unwrap();
        fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
        let programs = Command::path("locker").parent().unwrap().display().to_string();
        let variables = format!(
            "HOME='{path}' ZDOTDIR='{path}' XDG_CONFIG_HOME='{path}' XDG_DATA_HOME='{path}' TERM=xterm PATH='{path}:{programs}':$PATH"
        );
        let script = format!("stty rows 60 cols 200; cd '{path}'; export {variables}; {script}; {start}");
        let session = Session::start(&script).await;
        let locker = session.server.locker();
        for name in names {
            granted(locker.lock(name, LockOptions::from(LONG)).await);
        }
        session.until_seen("ready> ").await;
        Self { session, folder }
    }

    /// Presses keys, which run `locker` at last, and answers which arguments it got.
    async fn arguments(&mut self, keys: &str) -> String {
        self.session.press(keys);
        self.session.until_seen(" end").await;
        let seen = self.seen();
        let (_, ran) = seen.rsplit_once("ran <").unwrap();
        format!("<{}", ran.split_once(" end").unwrap().0)
    }

    /// What the terminal has shown, without colours and moves of the cursor.
    fn seen(&self) -> String {
        let seen = self.session.seen.lock().unwrap().replace("\x1b(B", "");
        let (first, parts) = seen.split_once("\x1b[").unwrap_or((&seen, ""));
        let is_end = |character| ('@'..='~').contains(&character);
        let text = |part: &str| part.split_once(is_end).map(|(_, text)| text.to_owned());
        first.to_owned() + &parts.split("\x1b[").filter_map(text).collect::<String>()
    }
}

#[rstest]
#[tokio::test]
async fn a_tab_completes_the_name_of_a_lock(
    #[values(Bash, BashWithPackage, Fish, Zsh)] kind: Kind,
    #[values("unlock", "status", "exec --ttl 1h")] subcommand: &str,
) {
    let mut shell = Shell::start(kind, &["job-one", "other"]).await;
    let arguments = shell.arguments(&format!("locker {subcommand} jo\t\n")).await;
    assert!(arguments.ends_with(" <job-one>"), "{arguments}");
}

#[rstest]
#[case::bash(BashWithPackage, "bash", "bash-completion/completions/locker")]
#[case::fish(Fish, "fish", "fish/completions/locker.fish")]
#[case::zsh(Zsh, "zsh", "_locker")]
#[tokio::test]
async fn a_shell_loads_the_file_of_a_package(#[case] kind: Kind, #[case] name: &str, #[case] file: &str) {
    let script = format!("mkdir -p $(dirname {file}); locker completions {name} >{file}; export AS_FILE=1");
    let mut shell = Shell::start_after(&script, kind, &["job"]).await;
    assert_eq!(shell.arguments("locker status jo\t\n").await, "<status> <job>");
}

#[rstest]
#[tokio::test]
async fn two_tabs_list_the_names_that_fit(#[values(Bash, BashWithPackage, Fish, Zsh)] kind: Kind) {
    let mut shell = Shell::start(kind, &["job-a", "job-b", "other"]).await;
    shell.session.press("locker status job-\t\t");
    until(async || ["job-a", "job-b"].iter().all(|name| shell.seen().contains(name))).await;
    assert!(!shell.seen().contains("other"));
}

#[rstest]
#[tokio::test]
async fn a_name_is_inserted_as_one_word_and_never_executed(
    #[values(Bash, Fish, Zsh)] kind: Kind,
    #[values(
        "it's \"a\\b\"\\",
        "$(touch here)`touch here`$HOME",
        "a;touch here&touch here|touch here",
        ">here",
        "!!",
        "^a^b",
        "*{a,b}?[c]#(d)",
        "a:b=c@d~%1",
        "==x",
        "café ☕"
    )]
    name: &str,
) {
    let mut shell = Shell::start(kind, &[name]).await;
    assert_eq!(shell.arguments("locker status \t\n").await, format!("<status> <{name}>"));
    assert!(!shell.folder.path().join("here").exists());
}

#[rstest]
#[case::in_bash(Bash, "<~a>")]
#[case::in_zsh(Zsh, "<~a>")]
#[case::not_in_fish_which_would_expand_it(Fish, "<x>")]
#[tokio::test]
async fn a_name_with_a_tilde_is_inserted(#[case] kind: Kind, #[case] argument: &str) {
    let mut shell = Shell::start(kind, &["~a", "x"]).await;
    let keys = if matches!(kind, Fish) { "locker status \t\n" } else { "locker status \\~\t\n" };
    assert_eq!(shell.arguments(keys).await, format!("<status> {argument}"));
}

#[rstest]
#[tokio::test]
async fn a_name_is_completed_within_quotes(
    #[values(Bash, Fish, Zsh)] kind: Kind,
    #[values("'it", "\"it", "it\\'s\\ ")] typed: &str,
    #[values("it's $(touch here) `touch here` \"x\" \\ !!", "it's \"", "it's '", "it's \\")] name: &str,
) {
    let mut shell = Shell::start(kind, &[name]).await;
    assert_eq!(shell.arguments(&format!("locker status {typed}\t\n")).await, format!("<status> <{name}>"));
    assert!(!shell.folder.path().join("here").exists());
}

#[rstest]
#[tokio::test]
async fn names_with_colons_are_completed_part_by_part(#[values(Bash, BashWithPackage, Fish, Zsh)] kind: Kind) {
    let mut shell = Shell::start(kind, &["db:one:x", "db:two"]).await;
    assert_eq!(shell.arguments("locker status db:o\t\n").await, "<status> <db:one:x>");
}

#[rstest]
#[case::unless_it_would_be_an_option("locker status \t\n", "<status> <other>")]
#[case::after_two_dashes("locker status -- --f\t\n", "<status> <--> <--force>")]
#[tokio::test]
async fn a_name_that_begins_with_a_dash_is_offered(
    #[values(Bash, BashWithPackage, Fish, Zsh)] kind: Kind,
    #[case] keys: &str,
    #[case] arguments: &str,
) {
    let mut shell = Shell::start(kind, &["--force", "other"]).await;
    assert_eq!(shell.arguments(keys).await, arguments);
}

#[rstest]
#[tokio::test]
async fn the_line_names_the_store(#[values(Bash, BashWithPackage, Fish, Zsh)] kind: Kind) {
    let mut shell = Shell::start(kind, &["one"]).await;
    let server = RedisServer::start().await;
    Command::on(&server, &["--prefix", "my:", "lock", "two"]).run().await;
    let line = format!("locker --cache {} status --prefix=my: \t\n", server.url());
    let arguments = shell.arguments(&line).await;
    assert!(arguments.ends_with(" <two>"), "{arguments}");
}

#[rstest]
#[case::a_subcommand("locker unl\t\n", "<unlock>")]
#[case::an_option("locker exec --on-l\t\n", "<exec> <--on-lost>")]
#[case::a_word("locker exec --on-lost ig\t\n", "<exec> <--on-lost> <ignore>")]
#[case::a_cache("locker --cache mem\t\n", "<--cache> <memory>")]
#[case::a_cache_after_a_sign("locker --cache=mem\t\n", "<--cache=memory>")]
#[case::an_open_value("locker --cache redis+u\tsocket\n", "<--cache> <redis+unix:///socket>")]
#[case::a_file("locker --ca uni\t\n", "<--ca> <unique-program>")]
#[case::a_file_after_a_sign("locker --ca=uni\t\n", "<--ca=unique-program>")]
#[case::a_command("locker exec a:b -- unique-p\t\n", "<exec> <a:b> <--> <unique-program>")]
#[case::a_file_of_the_command("locker exec a:b -- ls -l uni\t\n", "<exec> <a:b> <--> <ls> <-l> <unique-program>")]
#[tokio::test]
async fn what_comes_next_is_completed(
    #[values(Bash, BashWithPackage, Fish, Zsh)] kind: Kind,
    #[case] keys: &str,
    #[case] arguments: &str,
) {
    let mut shell = Shell::start(kind, &["job"]).await;
    assert_eq!(shell.arguments(keys).await, arguments);
}

#[rstest]
#[tokio::test]
async fn the_arguments_of_the_command_are_completed_as_without_a_lock(
    #[values(BashWithPackage, Fish, Zsh)] kind: Kind,
) {
    let mut shell = Shell::start(kind, &["job"]).await;
    let arguments = shell.arguments("locker exec a:b -- locker unlock jo\t\n").await;
    assert_eq!(arguments, "<exec> <a:b> <--> <locker> <unlock> <job>");
}

#[rstest]
#[tokio::test]
async fn a_store_that_is_away_leaves_the_line_alone(#[values(Bash, BashWithPackage, Fish, Zsh)] kind: Kind) {
    let away = "export LOCKER_CACHE=redis://user:correct-horse@127.0.0.1:1";
    let mut shell = Shell::start_after(away, kind, &[]).await;
    assert_eq!(shell.arguments("locker status jo\t\n").await, "<status> <jo>");
    let seen = shell.seen();
    assert!(["horse", "refused", "error", "locker:"].iter().all(|word| !seen.contains(word)), "{seen}");
}

#[rstest]
#[tokio::test]
async fn a_store_that_hangs_does_not_hold_up_the_prompt(#[values(Bash, Fish, Zsh)] kind: Kind) {
    let mut shell = Shell::start(kind, &["job"]).await;
    kill(shell.session.server.pid(), Signal::SIGSTOP).unwrap();
    let arguments = shell.arguments("locker --timeout 1h status jo\t\n").await;
    assert_eq!(arguments, "<--timeout> <1h> <status> <jo>");
}

#[rstest]
#[case::without_a_folder("store")]
#[case::with_an_empty_folder("fish/empty")]
#[tokio::test]
async fn a_tab_creates_no_store(#[values(Bash, Fish, Zsh)] kind: Kind, #[case] folder: &str) {
    let mut shell = Shell::start(kind, &[]).await;
    let store = shell.folder.path().join(folder);
    let is_there = folder.ends_with("empty");
    if is_there {
        fs::create_dir(&store).unwrap();
    }
    shell.arguments(&format!("locker --cache local:{} status x\t\n", store.display())).await;
    assert_eq!(fs::read_dir(store).map(Iterator::count).ok(), is_there.then_some(0));
}

#[tokio::test]
async fn a_local_store_offers_its_names() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("local:{}", folder.path().display());
    Command::new(&["--cache", &store, "lock", "job"]).run().await;
    let ran = Command::new(&["candidates", "fish", "--", "locker", "--cache", &store, "status", ""]).run().await;
    assert_eq!(ran.stdout, "values\njob\t\n");
}

#[tokio::test]
async fn at_most_some_hundred_names_are_offered() {
    let server = RedisServer::start().await;
    let locker = server.locker();
    for number in 0..400 {
        granted(locker.lock(&format!("job-{number}"), LockOptions::from(LONG)).await);
    }
    let ran = Command::on(&server, &["candidates", "zsh", "--", "locker", "status", "job"]).run().await;
    assert_eq!(ran.stdout.lines().count(), 1 + 300);
}

#[tokio::test]
async fn keys_that_are_no_names_are_not_offered() {
    let server = RedisServer::start().await;
    for key in ["lock:a\x1b]0;b\x07", "lock:c\nd", "lock:job"] {
        let _: () = server.run(&["SET", key, "x"]).await;
    }
    let ran = Command::on(&server, &["candidates", "zsh", "--", "locker", "status", ""]).run().await;
    assert_eq!(ran.stdout, "values\njob\t\n");
}
