//! The connection of a process to a cluster: one to each node, made when it is needed.
//!
//! It does what the redis crate's does without retries: it answers what a node says, and asks who owns the slots after a `MOVED`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind::ConnectionRefused;
use std::sync::Arc;
use std::time::Duration;

use locker_host::simulation::{Client, Connector, Pushes};
use locker_simulated_redis::{SLOTS, slot_of};
use redis::{Cmd, ErrorKind, RedisError, RedisFuture, RedisResult, ServerErrorKind, Value};
use tokio::sync::Mutex;

use super::network::{Connection, Network, error};
use super::world::{Route, World};

/// The network between a process and a cluster.
pub(super) struct ClusterNetwork {
    pub(super) world: Arc<World>,
    pub(super) process: usize,
}

struct ClusterConnection {
    world: Arc<World>,
    process: usize,
    timeout: Duration,
    pushes: Pushes,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    nodes: BTreeMap<usize, Arc<Connection>>,
    /// Which node serves each slot, as far as this process knows.
    owners: Vec<usize>,
    channels: BTreeSet<String>,
}

impl Connector for ClusterNetwork {
    fn connect(&self, timeout: Duration, pushes: Pushes) -> RedisFuture<'_, Arc<dyn Client>> {
        Box::pin(async move {
            let (world, process, state) = (self.world.clone(), self.process, Mutex::default());
            let connection = ClusterConnection { world, process, timeout, pushes, state };
            connection.any_node().await?;
            connection.learn_owners().await;
            Ok(Arc::new(connection) as Arc<dyn Client>)
        })
    }
}

impl ClusterConnection {
    fn all(&self) -> std::ops::Range<usize> {
        0..self.world.plan.clocks.len()
    }

    async fn learn_owners(&self) {
        let owner = |slot| self.world.state().sites.owner(slot).unwrap_or_default();
        self.state.lock().await.owners = (0..SLOTS).map(owner).collect();
    }

    async fn owner(&self, slot: u16) -> usize {
        self.state.lock().await.owners.get(usize::from(slot)).copied().unwrap_or_default()
    }

    /// The connection to a node. A new one subscribes to the channels that this process has there.
    async fn node(&self, node: usize) -> RedisResult<Arc<Connection>> {
        let mut state = self.state.lock().await;
        if let Some(connection) = state.nodes.get(&node).filter(|connection| !connection.is_broken()) {
            return Ok(connection.clone());
        }
        let network = Network { world: self.world.clone(), route: Route { process: self.process, site: node } };
        let connection = network.open(self.timeout, self.pushes.clone()).await?;
        for channel in &state.channels {
            if state.owners.get(usize::from(slot_of(channel.as_bytes()))) == Some(&node) {
                connection.subscribe(channel).await?;
            }
        }
        state.nodes.insert(node, connection.clone());
        Ok(connection)
    }

    async fn any_node(&self) -> RedisResult<Arc<Connection>> {
        let mut last = Err(error(ConnectionRefused));
        for node in self.all() {
            last = self.node(node).await;
            if last.is_ok() {
                break;
            }
        }
        last
    }

    async fn ask(&self, command: &Cmd, slot: Option<u16>) -> RedisResult<Value> {
        let Some(slot) = slot else {
            let name = command.args_iter().next();
            let is_for_all = matches!(name, Some(redis::Arg::Simple(b"PING" | b"SCRIPT")));
            return if is_for_all {
                self.ask_all(command).await
            } else {
                self.any_node().await?.send(command, None).await
            };
        };
        let reply = self.node(self.owner(slot).await).await?.send(command, None).await;
        if reply.as_ref().is_err_and(is_moved) {
            self.learn_owners().await;
        }
        reply
    }

    async fn ask_all(&self, command: &Cmd) -> RedisResult<Value> {
        let mut reply = Ok(Value::Nil);
        for node in self.all() {
            reply = self.node(node).await?.send(command, None).await;
            if reply.is_err() {
                break;
            }
        }
        reply
    }
}

fn is_moved(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::Moved)
}

impl Client for ClusterConnection {
    fn send<'a>(&'a self, command: &'a Cmd, slot: Option<u16>) -> RedisFuture<'a, Value> {
        Box::pin(self.ask(command, slot))
    }

    fn subscribe<'a>(&'a self, channel: &'a str) -> RedisFuture<'a, ()> {
        Box::pin(async move {
            let node = self.node(self.owner(slot_of(channel.as_bytes())).await).await?;
            self.state.lock().await.channels.insert(channel.to_owned());
            node.subscribe(channel).await
        })
    }

    fn unsubscribe<'a>(&'a self, channel: &'a str) -> RedisFuture<'a, ()> {
        Box::pin(async move {
            self.state.lock().await.channels.remove(channel);
            let nodes: Vec<_> = self.state.lock().await.nodes.values().cloned().collect();
            // A slot may have moved since.
            for node in nodes.into_iter().filter(|node| !node.is_broken()) {
                node.unsubscribe(channel).await?;
            }
            Ok(())
        })
    }
}
