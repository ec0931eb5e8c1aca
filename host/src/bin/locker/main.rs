//! `locker`: takes, releases and extends locks from a shell, and runs commands under them.
//!
//! # Layout
//!
//! - `args`: the command line; `open`: the cache that it names.
//! - `acquire`: taking a lock; `watch`: following one; `signals`: what others ask of us meanwhile.
//! - `exec`: running a command under a lock; `child`: the command; `guardian`: what stops it if we cannot.
//! - `run`: running plugins; `lines`: what they write. `bench`: measuring.
//! - `report`: what is told, in words or JSON; `stderr`: how that holds up nothing; `exit`: what the exit code says.

mod acquire;
mod args;
mod bench;
mod child;
mod exec;
mod exit;
mod guardian;
mod lines;
mod open;
mod report;
mod run;
mod signals;
mod stderr;
mod watch;

use std::io::{IsTerminal, Read, Write};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{CommandFactory, Parser};
use locker_host::{Extended, LockOptions, Locker, Unlock};
use tokio::runtime::{Builder, Runtime};

use crate::acquire::{Acquired, acquire};
use crate::args::{Args, Command};
use crate::exit::Exit;
use crate::report::Report;
use crate::signals::Signals;

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            let code = if error.use_stderr() { Exit::Usage } else { Exit::Done };
            // Nobody is left to tell if this cannot be printed.
            _ = error.print();
            return code.into();
        }
    };
    let mut report = Report::new(args.json, args.quiet);
    if matches!(args.command, Command::Exec(_)) {
        report = report.in_background();
    }
    let exit = runtime(&args.command).and_then(|runtime| runtime.block_on(act(args, report))).unwrap_or_else(|error| {
        report.error(&error);
        Exit::of(&error)
    });
    stderr::drain();
    exit.into()
}

/// A thread for each core if there is work for them, else one.
fn runtime(command: &Command) -> Result<Runtime> {
    let mut builder = match command {
        Command::Run(_) => Builder::new_multi_thread(),
        _ => Builder::new_current_thread(),
    };
    builder.enable_all().build().context("cannot start")
}

async fn act(args: Args, report: Report) -> Result<Exit> {
    match args.command {
        Command::Component { output } => {
            component(output.as_deref())?;
            Ok(Exit::Done)
        }
        Command::Wit => {
            print(locker_host::WIT.as_bytes())?;
            Ok(Exit::Done)
        }
        Command::Completions { shell } => {
            let mut completions = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "locker", &mut completions);
            print(&completions)?;
            Ok(Exit::Done)
        }
        Command::Man { command } => {
            print(&man(command.as_deref())?)?;
            Ok(Exit::Done)
        }
        Command::Bench(bench) => {
            open::code();
            bench::bench(args.cache.as_deref(), bench, report).await
        }
        command => {
            open::code();
            // Plugins share what lies in memory.
            let usual = matches!(command, Command::Run(_)).then_some("memory");
            let cache = args.cache.as_deref().or(usual);
            let locker = open::locker(cache, args.prefix.as_deref(), args.ca.as_deref(), report)?;
            let exit = with_locker(&locker, command, report).await;
            if !matches!(exit, Ok(Exit::Lost)) {
                // What was taken in vain is given back. What was lost has been tried already.
                locker.close().await;
            }
            exit
        }
    }
}

async fn with_locker(locker: &Locker, command: Command, report: Report) -> Result<Exit> {
    match command {
        Command::Lock { name, options } => lock(locker, &name, options.into(), report).await,
        Command::Unlock { name, token } => {
            let outcome = locker.unlock(&name, read_token(token)?).await?;
            report.unlocked(&name, outcome)?;
            Ok(if outcome == Unlock::Released { Exit::Done } else { Exit::No })
        }
        Command::Extend { name, token, ttl } => {
            let outcome = locker.extend(&name, read_token(token)?, ttl).await?;
            report.extended(&name, &outcome)?;
            Ok(if matches!(outcome, Extended::Extended(_)) { Exit::Done } else { Exit::No })
        }
        Command::Status { name, watch: true } => watch::watch(locker, &name, report).await,
        Command::Status { name, watch: false } => {
            let holder = locker.inspect(&name).await?;
            report.status(&name, holder.as_ref(), None)?;
            Ok(if holder.is_some() { Exit::Done } else { Exit::No })
        }
        Command::List => {
            report.list(&locker.list().await?)?;
            Ok(Exit::Done)
        }
        Command::Exec(exec) => exec::exec(locker, exec, report).await,
        Command::Run(run) => run::run(locker, run, report).await,
        Command::Bench(_)
        | Command::Component { .. }
        | Command::Wit
        | Command::Completions { .. }
        | Command::Man { .. } => {
            bail!("this command needs no locker")
        }
    }
}

async fn lock(locker: &Locker, name: &str, options: LockOptions, report: Report) -> Result<Exit> {
    match acquire(locker, name, locker.lock(name, options), &mut Signals::listen()?, report).await? {
        Acquired::Granted(lease) => {
            if let Err(error) = report.granted(name, &lease) {
                // A lock whose token nobody got to see is of no use to anybody.
                locker.unlock(name, &lease.token).await?;
                return Err(error);
            }
            Ok(Exit::Done)
        }
        Acquired::Held(holder) => {
            report.held(name, &holder)?;
            Ok(Exit::Held)
        }
        Acquired::Interrupted(signal) => Ok(Exit::Signal(signal)),
    }
}

/// The token as given, or from standard input for `-`, so that it need not show in a list of processes.
fn read_token(token: String) -> Result<String> {
    if token != "-" {
        return Ok(token);
    }
    const MORE_THAN_ANY_TOKEN: u64 = 4096;
    let mut input = String::new();
    std::io::stdin()
        .take(MORE_THAN_ANY_TOKEN)
        .read_to_string(&mut input)
        .context("cannot read the token from standard input")?;
    Ok(input.trim_end_matches(['\r', '\n']).to_owned())
}

fn component(output: Option<&std::path::Path>) -> Result<()> {
    match output {
        Some(path) => {
            std::fs::write(path, locker_host::COMPONENT).with_context(|| format!("cannot write {}", path.display()))
        }
        None if std::io::stdout().is_terminal() => {
            bail!(exit::Coded(
                Exit::Usage,
                "the component is binary: name a file with -o FILE, or send it somewhere".to_owned()
            ))
        }
        None => print(locker_host::COMPONENT),
    }
}

fn man(command: Option<&str>) -> Result<Vec<u8>> {
    let mut locker = Args::command();
    locker.build();
    let about = match command {
        None => locker,
        Some(name) => {
            let found = locker.find_subcommand(name).cloned();
            found.ok_or_else(|| exit::Coded(Exit::Usage, format!("there is no command {name:?}: see locker --help")))?
        }
    };
    let mut page = Vec::new();
    clap_mangen::Man::new(about).render(&mut page)?;
    Ok(page)
}

fn print(bytes: &[u8]) -> Result<()> {
    std::io::stdout().write_all(bytes).context("cannot write to standard output")
}
