//! What happens to the server and to the connections to it.

use std::collections::BTreeMap;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use tokio::time::{sleep, timeout};

use crate::harness::{Fault, Proxy, RedisServer, until};

/// What happens, one thing after the other, and how often it did.
pub(super) struct Disturbance {
    random: fastrand::Rng,
    pub(super) counts: BTreeMap<&'static str, u64>,
}

impl Disturbance {
    pub(super) fn new() -> Self {
        Self { random: fastrand::Rng::new(), counts: BTreeMap::new() }
    }

    /// Lets the next thing happen, and returns when it is over.
    pub(super) async fn next(&mut self, server: &mut RedisServer, proxy: &Proxy) {
        sleep(self.random_millis(50..500)).await;
        let what = match self.random.u8(0..8) {
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
