//! An early release: a script asks its keeper, through a socket that has no file and ends with the keeper.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::ErrorKind;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr, UnixListener as StdListener, UnixStream as StdStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use locker_host::{Error, UnlockOutcome};
use nix::unistd::{Pid, Uid};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use super::shell::Shell;
use crate::args::Hold;
use crate::exit_code::{CliError, Exit};
use crate::output::{Report, quoted};

/// Where a keeper listens. The name is too long to be part of it. Other containers may share the sockets, and have processes with the same number.
fn address(shell: Pid, prefix: &str, name: &str) -> Result<SocketAddr> {
    let mut hasher = DefaultHasher::new();
    let namespace = std::fs::metadata("/proc/self/ns/pid").map_or(0, |namespace| namespace.ino());
    (namespace, shell.as_raw(), prefix, name).hash(&mut hasher);
    Ok(SocketAddr::from_abstract_name(format!("locker-keeper/{}/{:016x}", Uid::effective(), hasher.finish()))?)
}

/// Whether the process at the other end belongs to this user, or to root.
fn is_trusted(stream: &UnixStream) -> bool {
    stream.peer_cred().is_ok_and(|peer| [Uid::effective().as_raw(), 0].contains(&peer.uid()))
}

/// What a script asks its keeper for.
pub(super) struct Requests(UnixListener);

/// A script that waits for the release.
pub(super) struct Request(UnixStream);

impl Requests {
    pub(super) fn listen(shell: Pid, prefix: &str, name: &str) -> Result<Self> {
        let listener = StdListener::bind_addr(&address(shell, prefix, name)?).map_err(|error| match error.kind() {
            ErrorKind::AddrInUse => CliError(
                Exit::Refused,
                format!("process {shell} holds a lock called {} in another store already", quoted(name)),
            ),
            _ => CliError(Exit::Fault, format!("cannot listen to an early release: {error}")),
        })?;
        listener.set_nonblocking(true)?;
        Ok(Self(UnixListener::from_std(listener)?))
    }

    pub(super) async fn next(&self) -> Request {
        loop {
            match self.0.accept().await {
                Ok((stream, _)) if is_trusted(&stream) => return Request(stream),
                Ok(_) => {}
                // Descriptors may be short for a while.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }
}

impl Request {
    /// Answers with an exit code, and a message after an error.
    pub(super) async fn answer(mut self, outcome: &Result<UnlockOutcome, Error>) {
        let answer = match outcome {
            Ok(UnlockOutcome::Released) => vec![Exit::Done.code()],
            Ok(UnlockOutcome::Absent | UnlockOutcome::HeldByOther) => vec![Exit::NotHeld.code()],
            Err(error) => [&[Exit::of_error(error).code()], error.to_string().as_bytes()].concat(),
        };
        // A script that has gone needs no answer.
        _ = timeout(Duration::from_secs(1), self.0.write_all(&answer)).await;
    }
}

/// `locker hold --release`: asks the keeper of this shell to release the lock.
pub(crate) async fn release(hold: &Hold, prefix: &str, report: Report) -> Result<Exit> {
    let shell = Shell::of(hold.pid)?.id();
    let stream = match StdStream::connect_addr(&address(shell, prefix, &hold.name)?) {
        Ok(stream) => stream,
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            report.not_kept(&hold.name, shell)?;
            return Ok(Exit::NotHeld);
        }
        Err(error) => return Err(error).context("cannot reach the process that keeps the lock"),
    };
    stream.set_nonblocking(true)?;
    let answer = ask(UnixStream::from_std(stream)?).await?;
    match answer.split_first() {
        Some((0, _)) => {
            report.unlocked(&hold.name, UnlockOutcome::Released)?;
            Ok(Exit::Done)
        }
        Some((code, message)) if !message.is_empty() => {
            bail!(CliError(Exit::Code(*code), String::from_utf8_lossy(message).into_owned()))
        }
        _ => {
            report.not_kept(&hold.name, shell)?;
            Ok(Exit::NotHeld)
        }
    }
}

async fn ask(mut stream: UnixStream) -> Result<Vec<u8>> {
    // A store that is away costs its own timeout.
    const LONGEST: Duration = Duration::from_secs(30);
    let mut answer = Vec::new();
    if is_trusted(&stream) {
        let silent = || CliError(Exit::Unavailable, "the process that keeps the lock does not answer".to_owned());
        timeout(LONGEST, stream.read_to_end(&mut answer)).await.map_err(|_| silent())??;
    }
    Ok(answer)
}
