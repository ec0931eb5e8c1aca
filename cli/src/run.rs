//! Running plugins that share locks.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use locker_host::{Locker, LockerCtx, Program, ProgramExit, Runner, Scope};
use tokio::task::JoinSet;
use wasmtime_wasi::{FsPerms, WasiCtx};

use crate::acquire::Spinner;
use crate::args::{Grant, Limit, Run};
use crate::exit_code::{CliError, Exit};
use crate::output::prefixed::{Lines, Stream};
use crate::output::{Report, quoted};
use crate::signals::{Signals, unless_hurried};

/// Runs all plugins to their ends, and answers as the first of them that failed.
pub(crate) async fn run(locker: &Locker, run: Run, report: Report) -> Result<Exit> {
    if run.stdin && (run.plugins.len() > 1 || run.instances > 1) {
        bail!(CliError(Exit::Usage, "--stdin is for a single plugin in one instance".to_owned()));
    }
    // A signal while they compile ends this process: there is nothing to release yet.
    let loaded = load(locker, &run, report)?;
    let mut signals = Signals::listen()?;
    let mut running = JoinSet::new();
    let mut instances = Vec::new();
    for (name, (program, plugin)) in loaded {
        for number in 1..=run.instances {
            let name = if run.instances == 1 { name.clone() } else { format!("{name}#{number}") };
            let (program, locks, wasi) = (program.clone(), plugin.new_instance(), wasi(&run, &name)?);
            instances.push(locks.clone());
            running.spawn(async move {
                let ended = program.run(locks.clone(), wasi).await;
                (name, ended, locks.release_all().await)
            });
        }
    }
    let mut exit = Exit::Done;
    loop {
        let ended = tokio::select! {
            signal = signals.next() => {
                unless_hurried(async {
                    running.shutdown().await;
                    for instance in instances {
                        instance.release_all().await;
                    }
                })
                .await;
                return Ok(Exit::Signal(signal as i32));
            }
            ended = running.join_next() => ended,
        };
        let Some(ended) = ended else { return Ok(exit) };
        let (name, ended, left) = ended.context("a plugin was cancelled")?;
        if left > 0 {
            report.info(&format!("{name}: released the locks that it had left: {left}"));
        }
        if exit == Exit::Done {
            exit = exit_of(&name, &ended, report);
        }
    }
}

/// How a plugin ended. An end that is not its own is reported.
fn exit_of(name: &str, ended: &ProgramExit, report: Report) -> Exit {
    match ended {
        ProgramExit::Exited(0) => Exit::Done,
        ProgramExit::Exited(code) => Exit::Code(u8::try_from(*code).unwrap_or(1)),
        ended => {
            report.warn(&format!("{name}: {ended}"));
            Exit::Aborted
        }
    }
}

/// The plugins by their names, each with its scope.
fn load(locker: &Locker, run: &Run, report: Report) -> Result<BTreeMap<String, (Arc<Program>, LockerCtx)>> {
    let mut runner = Runner::new()?;
    for limit in &run.limits {
        runner = match *limit {
            Limit::MaxMemorySize(bytes) => runner.max_memory(bytes),
            Limit::Timeout(time) => runner.max_time(time),
        };
    }
    let mut plugins = BTreeMap::new();
    for path in &run.plugins {
        let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
        let namespace = run.namespace.as_ref().unwrap_or(&name);
        let scope = Scope::new(namespace).map_err(|error| {
            CliError(
                Exit::Usage,
                format!("{} cannot be a namespace: {error}; give one with --namespace", quoted(namespace)),
            )
        })?;
        let program = Arc::new(program(&runner, path, report)?);
        if plugins.insert(name.clone(), (program, LockerCtx::new(locker, scope))).is_some() {
            bail!(CliError(
                Exit::Usage,
                format!("two plugins are called {}: rename one, or use --instances", quoted(&name))
            ));
        }
    }
    Ok(plugins)
}

fn program(runner: &Runner, path: &Path, report: Report) -> Result<Program> {
    let cannot = |exit, reason: &str| CliError(exit, format!("cannot run {}: {reason}", path.display()));
    let bytes = std::fs::read(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => cannot(Exit::NotFound, &error.to_string()),
        _ => cannot(Exit::NotExecutable, &error.to_string()),
    })?;
    let load = || runner.load(&bytes).map_err(|error| error.to_string());
    let loaded = match bytes.get(..8) {
        Some(b"\0asm\x01\0\0\0") => {
            Err("it is a core module, not a component: build it for wasm32-wasip2, or convert \
                                          it with wasm-tools component new"
                .to_owned())
        }
        Some([b'\0', b'a', b's', b'm', ..]) => while_shown(&format!("compiling {}", path.display()), report, load),
        _ => Err("it is not a WebAssembly component".to_owned()),
    };
    Ok(loaded.map_err(|reason| {
        let reason = if reason.contains("`locker:locker/cache@") {
            "it imports locker:locker/cache, which only the locker has: import locker:locker/locker, or compose the \
             plugin with a component that exports a cache"
        } else {
            &reason
        };
        cannot(Exit::NotExecutable, reason)
    })?)
}

/// Does work that may take seconds. A terminal shows what it is.
fn while_shown<T>(what: &str, report: Report, work: impl FnOnce() -> T) -> T {
    const FRAME: Duration = Duration::from_millis(100);
    if !report.is_watched() {
        return work();
    }
    let (working, is_done) = channel::<()>();
    let show = move || {
        // Code that was kept is there sooner.
        if is_done.recv_timeout(FRAME / 2) == Err(RecvTimeoutError::Timeout) {
            let spinner = Spinner::new(what.to_owned());
            while is_done.recv_timeout(FRAME) == Err(RecvTimeoutError::Timeout) {
                spinner.0.tick();
            }
        }
    };
    std::thread::scope(|threads| {
        // Without a thread, nothing is shown.
        _ = std::thread::Builder::new().spawn_scoped(threads, show);
        let done = work();
        drop(working);
        done
    })
}

/// What a plugin is granted: to write lines, and what the user said.
fn wasi(run: &Run, name: &str) -> Result<WasiCtx> {
    let mut wasi = WasiCtx::builder();
    wasi.stdout(Lines::new(Stream::Output, name)).stderr(Lines::new(Stream::Error, name));
    wasi.arg(name).args(&run.arguments);
    for dir in &run.dirs {
        let (host, guest) = dir.split_once("::").unwrap_or((dir, dir));
        let granted = wasi.preopened_dir(host, guest, FsPerms::ReadWrite);
        granted.map_err(|error| CliError(Exit::Refused, format!("cannot grant the folder {host}: {error}")))?;
    }
    if run.stdin {
        wasi.inherit_stdin();
    }
    for grant in &run.grants {
        match grant {
            Grant::InheritEnv => wasi.envs(&environment()),
            Grant::InheritNetwork => wasi.inherit_network().allow_tcp(true).allow_udp(true),
            Grant::AllowIpNameLookup => wasi.allow_ip_name_lookup(true),
        };
    }
    for variable in &run.environment {
        if let Some((name, value)) = variable.split_once('=') {
            wasi.env(name, value);
        } else if let Ok(value) = std::env::var(variable) {
            wasi.env(variable, value);
        }
    }
    Ok(wasi.build())
}

/// The whole environment without the variables of `locker`: a URL may hold a password.
fn environment() -> Vec<(String, String)> {
    let text = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
    std::env::vars_os().filter_map(text).filter(|(name, _)| !name.starts_with("LOCKER_")).collect()
}
