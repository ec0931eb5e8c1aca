//! Processes on one runtime whose clock is paused.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use locker_host::simulation::Environment;
use locker_host::{Error, Limits, Locker, Redis};
use redis::{Cmd, Value};
use tokio::runtime::Builder;
use tokio::time::{Instant, sleep};

use super::client::{Connection, Network};
use super::server::Server;

/// What all processes share. Clones are the same.
#[derive(Clone)]
pub struct HostWorld(Arc<Shared>);

struct Shared {
    seed: u64,
    started: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    server: Server,
    trace: Vec<String>,
    /// The last connection of each process.
    connections: BTreeMap<usize, Arc<Connection>>,
    /// The processes by the channels that they are subscribed to.
    subscribers: BTreeMap<String, usize>,
}

/// A process with one locker.
pub struct HostProcess {
    /// The locker.
    pub locker: Locker,
    world: HostWorld,
    number: usize,
}

/// Runs `play` in a world with this seed, on a runtime of its own. Returns what it answers, or none if there is no runtime.
pub fn in_host_world<T>(seed: u64, play: impl AsyncFnOnce(HostWorld) -> T) -> Option<T> {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().ok()?;
    Some(runtime.block_on(async {
        let state = Mutex::default();
        play(HostWorld(Arc::new(Shared { seed, started: Instant::now(), state }))).await
    }))
}

impl HostWorld {
    /// Starts a process, for which the server is of the kind that `url` says. All that it chooses follows from the seed of the world and its number.
    ///
    /// # Errors
    /// The locker's.
    pub fn process(&self, number: usize, url: &str) -> Result<HostProcess, Error> {
        let environment = Environment::simulated(self.0.seed ^ (number as u64) << 32, 0);
        let network = Arc::new(Network { world: self.clone(), process: number });
        let redis = Redis::open(url)?.connector(network).environment(&environment);
        let locker = Locker::with_environment(redis, Limits::default(), &environment)?;
        Ok(HostProcess { locker, world: self.clone(), number })
    }

    /// What has happened: the time in milliseconds, the process, and its request.
    #[must_use]
    pub fn trace(&self) -> Vec<String> {
        self.state().trace.clone()
    }

    pub(super) fn tell(&self, process: usize, what: &str) {
        let millis = self.0.started.elapsed().as_secs_f64() * 1000.0;
        self.state().trace.push(format!("{millis:.3} p{process} {what}"));
    }

    /// The server answers, and what it publishes arrives after this time.
    pub(super) fn call(&self, command: &Cmd, latency: Duration) -> Value {
        let mut state = self.state();
        let reply = state.server.call(command, self.0.started.elapsed());
        for (channel, message) in std::mem::take(&mut state.server.published) {
            let subscriber = state.subscribers.get(&channel).and_then(|process| state.connections.get(process));
            let Some(connection) = subscriber.cloned() else { continue };
            tokio::spawn(async move {
                sleep(latency).await;
                connection.push(&channel, &message);
            });
        }
        reply
    }

    pub(super) fn subscribe(&self, process: usize, channel: &str) {
        self.state().subscribers.insert(channel.to_owned(), process);
    }

    pub(super) fn connected(&self, process: usize, connection: &Arc<Connection>) {
        self.state().connections.insert(process, connection.clone());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HostProcess {
    /// Breaks the connection of the process.
    pub fn disconnect(&self) {
        let connection = self.world.state().connections.get(&self.number).cloned();
        if let Some(connection) = connection {
            connection.disconnect();
        }
    }
}
