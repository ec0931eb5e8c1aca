//! `locker`: takes, releases and extends locks from a shell, and runs commands and plugins under them.
//!
//! # Layout
//!
//! - `args`: the command line; `cache`: the store that it names.
//! - A file for each subcommand: `lock`, `unlock`, `status`, `check`, `exec`, `lead`, `hold`, `run`, `bench`, `component` (and `wit`), `man`, `candidates` (and
//!   `completions`). `extend` and `list` are one call each.
//! - `acquire`: taking a lock; `token`: reading one; `signals`: the signals meanwhile;
//!   `descriptors`: the open files of a process that is forked.
//! - `output`: messages, tokens and JSON; `exit_code`: the exit codes; `metrics_file`: metrics of a job.

mod acquire;
mod args;
mod bench;
mod cache;
mod candidates;
mod check;
mod component;
mod descriptors;
mod exec;
mod exit_code;
mod hold;
mod lead;
mod lock;
mod man;
mod metrics_file;
mod output;
mod run;
mod signals;
mod status;
mod token;
mod unlock;

use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Parser;
use clap::error::ContextKind;
use clap::error::ErrorKind::UnknownArgument;
use locker_host::{ExtendOutcome, Locker};
use nix::sys::signal::Signal;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use crate::args::{Args, Command};
use crate::exit_code::{Exit, FAULT};
use crate::hold::{Keeper, Process};
use crate::metrics_file::Job;
use crate::output::{Report, print, stderr};
use crate::token::read_token;

fn main() -> ExitCode {
    unset_empty_variables();
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            let code = if error.use_stderr() { Exit::Usage } else { Exit::Done };
            // If this cannot be printed, it cannot be reported.
            _ = error.print();
            if lacks_dashes(&error) {
                eprintln!("\nhint: put -- before the command, as in: locker exec NAME -- COMMAND");
            }
            return code.into();
        }
    };
    let report = Report::new(args.json, args.quiet);
    let keeper = match &args.command {
        Command::Hold(hold) if !hold.release => match hold::fork(&args, hold) {
            Ok(Process::Keeper(keeper)) => Some(keeper),
            Ok(Process::Foreground(exit)) => return end(exit),
            Err(error) => return end(failed(&error, report)),
        },
        _ => None,
    };
    end(work(args, keeper, report))
}

/// Does the work of the subcommand.
fn work(args: Args, keeper: Option<Keeper>, mut report: Report) -> Exit {
    std::panic::set_hook(Box::new(move |panic| {
        report.warn(&format!("a fault of locker: {}", reason(panic)));
        // Others may wait for this thread for ever. If there is a command, its guardian stops it.
        std::process::exit(FAULT.into());
    }));
    if matches!(args.command, Command::Exec(_) | Command::Lead(_)) {
        report = report.in_background();
    }
    let job = Job::of(&args.command);
    let ran = runtime(&args.command).and_then(|runtime| runtime.block_on(act(args, keeper, report, &job)));
    let exit = ran.unwrap_or_else(|error| failed(&error, report));
    job.write(exit, report);
    stderr::drain();
    exit
}

/// Ends this process as its command did.
fn end(exit: Exit) -> ExitCode {
    if let Some(signal) = exit.deadly_signal() {
        signals::die_of(signal);
    }
    exit.into()
}

/// Whether the command of `exec` or `lead` begins without two dashes before it.
fn lacks_dashes(error: &clap::Error) -> bool {
    let unknown = error.get(ContextKind::InvalidArg).map(ToString::to_string).unwrap_or_default();
    error.kind() == UnknownArgument
        && !unknown.starts_with('-')
        && ["exec", "lead"].iter().any(|of| error.to_string().contains(&format!("Usage: locker {of}")))
}

/// Reports an error. A reader that has seen enough is none.
fn failed(error: &anyhow::Error, report: Report) -> Exit {
    let exit = Exit::of(error);
    if exit != Exit::Signal(Signal::SIGPIPE as i32) {
        report.error(error);
    }
    exit
}

/// Templates of units, containers and crontabs write empty variables: they count as unset.
fn unset_empty_variables() {
    for name in ["LOCKER_CACHE", "LOCKER_CA", "LOCKER_CERT", "LOCKER_KEY", "LOCKER_TIMEOUT", "LOCKER_TOKEN"] {
        if std::env::var_os(name).is_some_and(|value| value.is_empty()) {
            // SAFETY: this process has one thread yet.
            unsafe { std::env::remove_var(name) };
        }
    }
}

/// What a panic says, in one line.
fn reason(panic: &std::panic::PanicHookInfo<'_>) -> String {
    panic.payload_as_str().unwrap_or("it has stopped").lines().next().unwrap_or_default().to_owned()
}

/// A thread for each core if there is work for them, else one.
fn runtime(command: &Command) -> Result<Runtime> {
    let mut builder = match command {
        Command::Run(_) => Builder::new_multi_thread(),
        _ => Builder::new_current_thread(),
    };
    // Tokio panics if it cannot have the descriptors that it needs, which are fewer than these.
    let pairs: std::io::Result<[_; 3]> = (|| Ok([UnixStream::pair()?, UnixStream::pair()?, UnixStream::pair()?]))();
    drop(pairs.context("cannot start")?);
    builder.enable_all().build().context("cannot start")
}

async fn act(args: Args, keeper: Option<Keeper>, report: Report, job: &Job) -> Result<Exit> {
    match args.command {
        Command::Component { output } => {
            component::component(output.as_deref())?;
            Ok(Exit::Done)
        }
        Command::Wit => {
            print(locker_host::WIT.as_bytes())?;
            Ok(Exit::Done)
        }
        Command::Completions { shell } => {
            print(&candidates::completions(shell))?;
            Ok(Exit::Done)
        }
        Command::Candidates { shell, words } => {
            print(candidates::candidates(shell, words).as_bytes())?;
            Ok(Exit::Done)
        }
        Command::Man { command } => {
            print(&man::man(command.as_deref())?)?;
            Ok(Exit::Done)
        }
        Command::Bench(bench) => {
            cache::use_compilation_cache();
            bench::bench(args.cache.as_deref(), bench, report).await
        }
        Command::Hold(hold) if hold.release => {
            hold::release(&hold, args.prefix.as_deref().unwrap_or_default(), report).await
        }
        command => {
            cache::use_compilation_cache();
            // Plugins share the memory of this process.
            let default = matches!(command, Command::Run(_)).then_some("memory");
            let store = cache::Store {
                cache: args.cache.as_deref().or(default),
                prefix: args.prefix.as_deref(),
                ca: args.ca.as_deref(),
                certificate: args.cert.as_deref().zip(args.key.as_deref()),
                timeout: args.timeout,
            };
            if matches!(command, Command::Check) {
                return check::check(&store, report).await;
            }
            let locker = store.locker()?;
            let done = match (command, keeper) {
                (Command::Hold(hold), Some(keeper)) => {
                    hold::keep(&locker, hold, args.prefix.as_deref().unwrap_or_default(), keeper, report).await
                }
                (command, _) => with_locker(&locker, command, report, job).await,
            };
            let exit = done.unwrap_or_else(|error| failed(&error, report));
            if exit != Exit::Lost {
                // Calls that were interrupted are withdrawn. After a loss, that was tried already.
                _ = timeout(CLEAN_UP, signals::unless_hurried(locker.close())).await;
            }
            Ok(exit)
        }
    }
}

/// How long the clean-up may take after the outcome was reported.
const CLEAN_UP: Duration = Duration::from_secs(1);

async fn with_locker(locker: &Locker, command: Command, report: Report, job: &Job) -> Result<Exit> {
    match command {
        Command::Lock { name, options, token } => {
            lock::lock(locker, &name, acquire::options(options, report), token, report).await
        }
        Command::Unlock(unlock) => unlock::unlock(locker, unlock, report).await,
        Command::Extend { name, token, ttl } => {
            let outcome = locker.extend(&name, read_token(token)?, ttl).await?;
            report.extended(&name, &outcome)?;
            Ok(if matches!(outcome, ExtendOutcome::Extended(_)) { Exit::Done } else { Exit::NotHeld })
        }
        Command::Status { name, watch: true } => status::watch(locker, &name, report).await,
        Command::Status { name, watch: false } => status::status(locker, &name, report).await,
        Command::List => {
            report.list(&locker.list().await?)?;
            Ok(Exit::Done)
        }
        Command::Exec(exec) => exec::exec(locker, exec, report, job).await,
        Command::Lead(lead) => lead::lead(locker, lead, report, job).await,
        Command::Run(run) => run::run(locker, run, report).await,
        Command::Bench(_)
        | Command::Candidates { .. }
        | Command::Check
        | Command::Component { .. }
        | Command::Wit
        | Command::Completions { .. }
        | Command::Hold(_)
        | Command::Man { .. } => {
            bail!("this command needs no locker")
        }
    }
}
