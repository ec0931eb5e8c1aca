//! What happens to the server and to the connections to it.

use std::collections::BTreeMap;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use tokio::time::{sleep, timeout};

use crate::harness::{Fault, Proxy, RedisServer, until};

const KINDS: u8 = 8;

/// Disturbs the server: all kinds in random order, then all again, and counts them.
pub(super) struct Disturbance {
    random: fastrand::Rng,
    /// The kinds that are still to come in this round.
    round: Vec<u8>,
    pub(super) counts: BTreeMap<&'static str, u64>,
}

impl Disturbance {
    pub(super) fn new() -> Self {
        Self { random: fastrand::Rng::new(), round: Vec::new(), counts: BTreeMap::new() }
    }

    /// Whether each kind has happened.
    pub(super) fn has_done_all(&self) -> bool {
        self.counts.len() == usize::from(KINDS)
    }

    fn next_kind(&mut self) -> u8 {
        if self.round.is_empty() {
            self.round = (0..KINDS).collect();
            self.random.shuffle(&mut self.round);
        }
        self.round.pop().expect("a round has kinds")
    }

    /// Disturbs the server once, and returns when it is over.
    pub(super) async fn next(&mut self, server: &mut RedisServer, proxy: &Proxy) {
        sleep(self.random_millis(50..500)).await;
        let what = match self.next_kind() {
            0 => {
                server.kill();
                sleep(self.random_millis(0..500)).await;
                server.start_again().await;
                // It is up before it has loaded what it had kept.
                until(async || !server.run::<String>(&["INFO", "persistence"]).await.contains("\nloading:1")).await;
                "kills"
            }
            1 => {
                // Also for longer than a lock lasts.
                kill(server.pid(), Signal::SIGSTOP).expect("it is our process");
                sleep(self.random_millis(100..3000)).await;
                kill(server.pid(), Signal::SIGCONT).expect("it is our process");
                "pauses"
            }
            2 => {
                _ = server.run::<u64>(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
                "cuts of all connections"
            }
            3 => {
                _ = server.run::<u64>(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
                "cuts of all subscriptions"
            }
            4 => {
                _ = server.run::<String>(&["SCRIPT", "FLUSH"]).await;
                "flushes of scripts"
            }
            5 => Self::fault(proxy, Fault::LoseRequest("EVALSHA"), "lost requests").await,
            6 => Self::fault(proxy, Fault::LoseAnswer("EVALSHA"), "lost answers").await,
            _ => Self::fault(proxy, Fault::Delay("EVALSHA", self.random_millis(100..3000)), "late requests").await,
        };
        *self.counts.entry(what).or_default() += 1;
    }

    async fn fault(proxy: &Proxy, fault: Fault, what: &'static str) -> &'static str {
        proxy.next(fault);
        let struck = async {
            while !proxy.has_failed() {
                sleep(Duration::from_millis(5)).await;
            }
        };
        // It strikes the next request; if none comes any more, the soak is at its end.
        _ = timeout(Duration::from_secs(5), struck).await;
        what
    }

    fn random_millis(&mut self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.random.u64(range))
    }
}
