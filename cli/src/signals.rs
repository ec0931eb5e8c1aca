//! Signals: those that others send us, those that we received ignored, and the one that we die of.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, kill, raise, sigaction, signal};
use nix::unistd::Pid;
use tokio::signal::unix::{self, SignalKind};

/// The signals that `locker` does not leave to the system from here on.
pub(crate) struct Signals {
    streams: Vec<(Signal, unix::Signal)>,
}

pub(crate) const FORWARDED_SIGNALS: [Signal; 6] =
    [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM, Signal::SIGUSR1, Signal::SIGUSR2];

impl Signals {
    /// Listens to the signals that are passed on, except those that were ignored when `locker` started: `nohup` and the
    /// background jobs of a shell rely on that.
    pub(crate) fn listen() -> Result<Self> {
        let mut signals = Self { streams: Vec::new() };
        signals.add(FORWARDED_SIGNALS.into_iter().filter(|signal| !was_ignored(*signal)))?;
        LISTENS.store(true, Relaxed);
        Ok(signals)
    }

    /// Listens to more signals.
    pub(crate) fn add(&mut self, signals: impl IntoIterator<Item = Signal>) -> Result<()> {
        for signal in signals {
            if self.streams.iter().any(|(known, _)| *known == signal) {
                continue;
            }
            let stream = unix::signal(SignalKind::from_raw(signal as i32)).context("cannot listen to signals")?;
            self.streams.push((signal, stream));
        }
        Ok(())
    }

    /// The next signal.
    pub(crate) async fn next(&mut self) -> Signal {
        let signal = std::future::poll_fn(|context| {
            for (signal, stream) in &mut self.streams {
                if stream.poll_recv(context).is_ready() {
                    return std::task::Poll::Ready(*signal);
                }
            }
            std::task::Poll::Pending
        })
        .await;
        if is_deadly(signal) {
            end_begins();
        }
        signal
    }
}

/// Whether the signal asks a process to end.
pub(crate) fn is_deadly(signal: Signal) -> bool {
    matches!(signal, Signal::SIGHUP | Signal::SIGINT | Signal::SIGQUIT | Signal::SIGTERM)
}

/// When the first signal came that asked for the end.
static FIRST: OnceLock<Instant> = OnceLock::new();

/// Notes that a signal has asked for the end, even if only the command has received it.
pub(crate) fn end_begins() {
    FIRST.get_or_init(Instant::now);
}

/// Whether this process has listened to signals. Until then, the first one ends it.
static LISTENS: AtomicBool = AtomicBool::new(false);

/// Does the rest of the work. The second signal that asks for the end ends this process at once.
pub(crate) async fn unless_hurried<T>(rest: impl Future<Output = T>) -> T {
    // Without streams, signals are dropped here. That delays the end and breaks nothing.
    let Some(signals) = LISTENS.load(Relaxed).then(Signals::listen).and_then(Result::ok) else { return rest.await };
    tokio::select! {
        biased;
        done = rest => done,
        never = die_when_hurried(signals) => match never {},
    }
}

async fn die_when_hurried(mut signals: Signals) -> std::convert::Infallible {
    // A supervisor and a terminal may send the same signal twice for one request.
    const ONE_REQUEST: Duration = Duration::from_millis(200);
    loop {
        let first = FIRST.get().copied();
        let signal = signals.next().await;
        // A shell and the system both send SIGHUP when a terminal closes.
        if signal != Signal::SIGHUP && is_deadly(signal) && first.is_some_and(|first| first.elapsed() > ONE_REQUEST) {
            die_of(signal);
            std::process::exit(128 + signal as i32);
        }
    }
}

/// Ends this process by a signal. It returns if the system does not allow that: the first process of a container is immune.
///
/// Shells end a loop or a script on Ctrl-C only if the process that they wait for dies of the signal.
pub(crate) fn die_of(deadly: Signal) {
    // The command has dumped its core, if it was to do so. That of `locker` says nothing.
    _ = nix::sys::prctl::set_dumpable(false);
    // SAFETY: the default disposition runs no code.
    _ = unsafe { signal(deadly, SigHandler::SigDfl) };
    _ = SigSet::from(deadly).thread_unblock();
    _ = raise(deadly);
}

/// Stops this process or, in `whole_group`, all of its process group, until SIGCONT.
pub(crate) fn stop_by(stopping: Signal, whole_group: bool) {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: the default disposition runs no code, and the handler that comes back is that of the runtime.
    let Ok(handler) = (unsafe { sigaction(stopping, &default) }) else { return };
    _ = if whole_group { kill(Pid::from_raw(0), stopping) } else { raise(stopping) };
    // SAFETY: as above.
    _ = unsafe { sigaction(stopping, &handler) };
}

/// A bit for each signal that was ignored when this process started.
static IGNORED: AtomicU64 = AtomicU64::new(0);

/// Runs before the runtime of Rust, which ignores SIGPIPE.
#[used]
#[cfg_attr(not(target_vendor = "apple"), unsafe(link_section = ".init_array"))]
#[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__mod_init_func"))]
static RECORD: extern "C" fn() = record;

extern "C" fn record() {
    for signal in Signal::iterator() {
        let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: it changes nothing, and writes to memory that is ours. All zeros are valid.
        let action = unsafe {
            libc::sigaction(signal as i32, std::ptr::null(), action.as_mut_ptr());
            action.assume_init()
        };
        if action.sa_sigaction == libc::SIG_IGN {
            IGNORED.fetch_or(1 << (signal as i32), Relaxed);
        }
    }
}

/// Whether a signal was ignored when this process started.
pub(crate) fn was_ignored(signal: Signal) -> bool {
    IGNORED.load(Relaxed) & (1 << (signal as i32)) != 0
}

/// Restores the dispositions that this process received, and this mask: in a process that becomes the command. Safe to call
/// between fork and exec.
pub(crate) fn restore(mask: &SigSet) -> nix::Result<()> {
    for ignored in Signal::iterator().filter(|known| was_ignored(*known)) {
        // SAFETY: ignoring a signal runs no code. SIGKILL and SIGSTOP are never ignored.
        _ = unsafe { signal(ignored, SigHandler::SigIgn) };
    }
    mask.thread_set_mask()
}
