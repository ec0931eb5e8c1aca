//! What a world does to a server.

use crate::cluster::{Cluster, slot_of};
use crate::keyspace::Keyspace;
use crate::replication::History;
use crate::server::{Condition, Server};
use crate::state::run_id;

/// Whether a killed server finds its data again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// All of it.
    Everything,
    /// None of it.
    Nothing,
}

impl Server {
    /// The server's clock, in microseconds.
    #[must_use]
    pub fn clock(&self) -> u64 {
        self.state.now
    }

    /// Sets the clock, forward or back.
    pub fn set_clock(&mut self, micros: u64) {
        self.state.now = micros;
    }

    /// What the server calls itself until it is restarted.
    #[must_use]
    pub fn run_id(&self) -> &str {
        &self.state.run_id
    }

    /// Takes the run id of another server, for comparisons.
    pub fn set_run_id(&mut self, run_id: &str) {
        run_id.clone_into(&mut self.state.run_id);
    }

    /// Lets the server serve, or refuse what it is asked.
    pub fn set_condition(&mut self, condition: Condition) {
        self.state.condition = condition;
    }

    /// Whether the server has reached `maxmemory`.
    pub fn set_memory_full(&mut self, full: bool) {
        self.state.memory_is_full = full;
    }

    /// Changes a user, or makes one, with the rules of `ACL SETUSER`.
    ///
    /// # Errors
    /// What the server says of a rule that it does not know.
    pub fn set_user(&mut self, name: &str, rules: &[&str]) -> Result<(), String> {
        let mut user = self.state.users.get(name).cloned().unwrap_or_default();
        rules.iter().try_for_each(|rule| user.apply(rule.as_bytes()))?;
        self.state.users.insert(name.to_owned(), user);
        Ok(())
    }

    /// Deletes a key of the first database, as eviction or expiry does.
    pub fn evict(&mut self, key: &[u8]) -> bool {
        let existed = self.state.remove(&(0, key.to_vec()));
        self.state.commit();
        existed
    }

    /// The keys of the first database that exist now.
    #[must_use]
    pub fn keys(&self) -> Vec<Vec<u8>> {
        let now = self.state.now_ms();
        let live = self
            .state
            .keyspace
            .iter()
            .filter(|(key, entry)| key.0 == 0 && entry.expires.is_none_or(|expires| now <= expires));
        live.map(|(key, _)| key.1.clone()).collect()
    }

    /// The text under a key of the first database and the last millisecond at which it exists, without touching it.
    #[must_use]
    pub fn peek(&self, key: &[u8]) -> Option<(&[u8], Option<u64>)> {
        let entry = self.state.keyspace.get(&(0, key.to_vec()))?;
        let exists = entry.expires.is_none_or(|expires| self.state.now_ms() <= expires);
        exists.then_some((entry.text().ok()?, entry.expires))
    }

    /// The channels that clients of this server are subscribed to.
    #[must_use]
    pub fn channels(&self) -> Vec<Vec<u8>> {
        self.state.clients.values().flat_map(|client| client.channels.iter().cloned()).collect()
    }

    /// Forgets all scripts, as a restart does.
    pub fn flush_scripts(&mut self) {
        self.state.scripts.clear();
    }

    /// Ends all connections.
    pub fn disconnect_all(&mut self) {
        self.state.clients.clear();
    }

    /// Restarts the server: connections, scripts and messages are gone, and so are the replicas' links. It keeps its role, its users and
    /// its view of the cluster.
    pub fn kill(&mut self, persistence: Persistence) {
        let state = &mut self.state;
        state.clients.clear();
        state.scripts.clear();
        state.outbox.clear();
        state.broadcasts.clear();
        state.history = History::default();
        state.run_id = run_id(&mut state.random);
        if persistence == Persistence::Nothing {
            state.keyspace = Keyspace::new();
        }
    }

    /// Makes the server a node of a cluster, or changes its view of it.
    pub fn set_cluster(&mut self, cluster: Cluster) {
        self.state.cluster = Some(cluster);
    }

    /// The view of the cluster, to change it.
    pub fn cluster(&mut self) -> Option<&mut Cluster> {
        self.state.cluster.as_mut()
    }

    /// The keys in a slot.
    #[must_use]
    pub fn keys_in_slot(&self, slot: u16) -> Vec<Vec<u8>> {
        self.keys().into_iter().filter(|key| slot_of(key) == slot).collect()
    }

    /// Moves a key to another node, with all that is under it, unless that node is out of memory.
    pub fn migrate(&mut self, key: &[u8], target: &mut Self) {
        if target.state.is_out_of_memory() {
            return;
        }
        let key = (0, key.to_vec());
        if let Some(entry) = self.state.entry(&key).cloned() {
            self.state.remove(&key);
            target.state.put(key, entry);
        }
        self.state.commit();
        target.state.commit();
    }
}
