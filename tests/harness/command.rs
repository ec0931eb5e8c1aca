//! The command `locker`, as a process.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, OnceLock, PoisonError};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Child;

use super::{LONG, RedisServer};

/// A call of `locker` that is yet to be made.
pub(crate) struct Command(tokio::process::Command);

/// What a call of `locker` left behind.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    /// What it died of.
    pub(crate) signal: Option<Signal>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Command {
    /// `locker` with these arguments, on memory.
    pub(crate) fn new(arguments: &[&str]) -> Self {
        Self::program("locker", arguments)
    }

    /// A program of this workspace, with these arguments.
    pub(crate) fn program(name: &str, arguments: &[&str]) -> Self {
        Self::of(programs().join(name), arguments)
    }

    /// Where a program of this workspace lies.
    pub(crate) fn path(name: &str) -> PathBuf {
        programs().join(name)
    }

    /// A script for a shell, in which `locker` is the command under test.
    pub(crate) fn script(shell: &str, script: &str) -> Self {
        let path = format!("{}:{}", programs().display(), std::env::var("PATH").unwrap());
        Self::of(shell.into(), &["-c", script]).env("PATH", &path)
    }

    /// An example of the library's, with these arguments.
    pub(crate) fn example(name: &str, arguments: &[&str]) -> Self {
        Self::of(programs().join("examples").join(name), arguments)
    }

    /// Another program, with these arguments.
    pub(crate) fn of(program: PathBuf, arguments: &[&str]) -> Self {
        let mut command = tokio::process::Command::new(program);
        command.args(arguments).env("LOCKER_CACHE", "memory").env_remove("LOCKER_TOKEN");
        command.env("XDG_CACHE_HOME", programs().join("caches"));
        command.stdin(Stdio::null()).kill_on_drop(true);
        // SAFETY: it makes system calls only.
        unsafe { command.pre_exec(|| Ok(default_signals()?)) };
        Self(command)
    }

    /// `locker` with these arguments, on a server.
    pub(crate) fn on(server: &RedisServer, arguments: &[&str]) -> Self {
        Self::new(arguments).env("LOCKER_CACHE", &server.url())
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.0.env(name, value);
        self
    }

    /// Runs it in this folder.
    pub(crate) fn current_dir(mut self, folder: &Path) -> Self {
        self.0.current_dir(folder);
        self
    }

    pub(crate) fn env_remove(mut self, name: &str) -> Self {
        self.0.env_remove(name);
        self
    }

    /// The plain command, for streams that tests need otherwise.
    pub(crate) fn into_std(self) -> std::process::Command {
        self.0.into_std()
    }

    pub(crate) fn spawn(mut self) -> Child {
        self.0.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Starts it with standard error on a pipe of the caller's.
    pub(crate) fn spawn_with_stderr(mut self, pipe: std::io::PipeWriter) -> Child {
        self.0.stdout(Stdio::piped()).stderr(pipe).spawn().unwrap()
    }

    /// Starts it with a standard output that no one reads.
    pub(crate) fn spawn_without_reader(mut self) -> Child {
        let (_, writer) = std::io::pipe().unwrap();
        self.0.stdout(writer).stderr(Stdio::piped()).spawn().unwrap()
    }

    pub(crate) async fn run(self) -> Ran {
        Ran::of(self.spawn()).await
    }

    pub(crate) async fn run_with_input(mut self, input: &str) -> Ran {
        use std::io::{Seek, Write};
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(input.as_bytes()).unwrap();
        file.rewind().unwrap();
        self.0.stdin(file);
        self.run().await
    }
}

/// Tests may run in the background of a script, where some signals are ignored: a command starts with none ignored.
fn default_signals() -> nix::Result<()> {
    for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM, Signal::SIGUSR1, Signal::SIGUSR2] {
        // SAFETY: the default disposition runs no code.
        unsafe { nix::sys::signal::signal(signal, nix::sys::signal::SigHandler::SigDfl) }?;
    }
    Ok(())
}

/// Sends a signal to a process that was started.
pub(crate) fn send(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id().unwrap().try_into().unwrap()), signal).unwrap();
}

impl Ran {
    pub(crate) async fn of(child: Child) -> Self {
        let output = tokio::time::timeout(2 * LONG, child.wait_with_output()).await.expect("it ends").unwrap();
        Self {
            code: output.status.code(),
            signal: output.status.signal().map(|signal| signal.try_into().unwrap()),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// The one line on standard output.
    pub(crate) fn line(&self) -> &str {
        self.stdout.strip_suffix('\n').unwrap_or_else(|| panic!("no line in {self:?}"))
    }
}

/// The folder of the programs, built once with the profile of the tests.
fn programs() -> &'static PathBuf {
    static PROGRAMS: OnceLock<PathBuf> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        // Tests run in TARGET/PROFILE/deps, programs one level above; `cargo test` does not build programs of other packages.
        let folder = std::env::current_exe().unwrap().parent().unwrap().to_owned();
        let folder = folder.parent().filter(|_| folder.ends_with("deps")).unwrap_or(&folder).to_owned();
        let profile = if folder.ends_with("release") { "release" } else { "dev" };
        let mut cargo = cargo();
        cargo.args(["build", "--quiet", "--workspace", "--bins", "--examples", "--profile", profile]);
        assert!(cargo.status().unwrap().success(), "locker does not build");
        folder
    })
}

/// A component, built from a package of this workspace.
pub(crate) fn wasm(package: &str, features: &[&str]) -> Vec<u8> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let target = std::env::current_exe().unwrap().ancestors().nth(3).unwrap().join("plugin");
    let mut cargo = cargo();
    cargo.args(["build", "--quiet", "--target", "wasm32-wasip2", "--package", package]).args(features);
    // Flags of the tests' build are for another target.
    cargo.args(["--profile", "component", "--target-dir"]).arg(&target).env_remove("RUSTFLAGS");
    assert!(cargo.status().unwrap().success(), "{package} does not build");
    let built = target.join("wasm32-wasip2/component").join(package.replace('-', "_")).with_extension("wasm");
    std::fs::read(&built).or_else(|_| std::fs::read(built.with_file_name(package).with_extension("wasm"))).unwrap()
}

/// Cargo, to build what `cargo test` does not.
fn cargo() -> std::process::Command {
    let mut cargo = std::process::Command::new(env!("CARGO"));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    // What cargo tells a test of its package would make it build again what is built.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CARGO_")) {
        if !["CARGO_HOME", "CARGO_TARGET_DIR"].contains(&name.as_str()) {
            cargo.env_remove(name);
        }
    }
    cargo
}
