//! What others ask of us while we run.

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use tokio::signal::unix::{self, SignalKind};

/// The signals that `locker` does not leave to the system from here on.
pub(crate) struct Signals {
    streams: [(Signal, unix::Signal); 6],
}

pub(crate) const FORWARDED_SIGNALS: [Signal; 6] =
    [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM, Signal::SIGUSR1, Signal::SIGUSR2];

impl Signals {
    pub(crate) fn listen() -> Result<Self> {
        let stream = |signal| unix::signal(SignalKind::from_raw(signal as i32)).map(|stream| (signal, stream));
        let [a, b, c, d, e, f] = FORWARDED_SIGNALS.map(stream);
        let streams = (|| std::io::Result::Ok([a?, b?, c?, d?, e?, f?]))();
        Ok(Self { streams: streams.context("cannot listen to signals")? })
    }

    /// The next signal.
    pub(crate) async fn next(&mut self) -> Signal {
        std::future::poll_fn(|context| {
            for (signal, stream) in &mut self.streams {
                if stream.poll_recv(context).is_ready() {
                    return std::task::Poll::Ready(*signal);
                }
            }
            std::task::Poll::Pending
        })
        .await
    }
}
