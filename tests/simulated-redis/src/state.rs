//! What a server knows.

use std::collections::{BTreeMap, BTreeSet};

use crate::acl::User;
use crate::client::{Client, ClientId};
use crate::cluster::Cluster;
use crate::keyspace::{Entry, Key, Keyspace};
use crate::pushes::{Broadcast, Push};
use crate::replication::{History, Role};
use crate::server::Condition;
use crate::version::Version;

pub(crate) struct State {
    pub(crate) version: Version,
    /// Microseconds.
    pub(crate) now: u64,
    pub(crate) random: fastrand::Rng,
    pub(crate) run_id: String,
    pub(crate) keyspace: Keyspace,
    pub(crate) clients: BTreeMap<ClientId, Client>,
    pub(crate) last_client: u64,
    pub(crate) users: BTreeMap<String, User>,
    /// The scripts by their hashes.
    pub(crate) scripts: BTreeMap<String, Vec<u8>>,
    pub(crate) condition: Condition,
    pub(crate) memory_is_full: bool,
    pub(crate) outbox: Vec<Push>,
    pub(crate) broadcasts: Vec<Broadcast>,
    pub(crate) role: Role,
    pub(crate) history: History,
    pub(crate) cluster: Option<Cluster>,
    /// What the present step wrote and published.
    pub(crate) dirty: BTreeSet<Key>,
    pub(crate) published: Vec<Broadcast>,
}

impl State {
    pub(crate) fn new(version: Version, seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        Self {
            version,
            now: 0,
            run_id: run_id(&mut random),
            random,
            keyspace: Keyspace::new(),
            clients: BTreeMap::new(),
            last_client: 0,
            users: BTreeMap::from([("default".to_owned(), User::unlimited())]),
            scripts: BTreeMap::new(),
            condition: Condition::Serving,
            memory_is_full: false,
            outbox: Vec::new(),
            broadcasts: Vec::new(),
            role: Role::Primary,
            history: History::default(),
            cluster: None,
            dirty: BTreeSet::new(),
            published: Vec::new(),
        }
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.now / 1000
    }

    /// What is under a key. A primary deletes what has expired when it is asked for; a replica waits for the primary to do it.
    pub(crate) fn entry(&mut self, key: &Key) -> Option<&Entry> {
        let now = self.now_ms();
        let has_expired = self.keyspace.get(key)?.expires.is_some_and(|expires| now > expires);
        if has_expired {
            if let Role::Primary = self.role {
                self.remove(key);
            }
            return None;
        }
        self.keyspace.get(key)
    }

    /// The same, to change it.
    pub(crate) fn change(&mut self, key: &Key) -> Option<&mut Entry> {
        self.entry(key)?;
        self.dirty.insert(key.clone());
        self.keyspace.get_mut(key)
    }

    pub(crate) fn put(&mut self, key: Key, entry: Entry) {
        self.dirty.insert(key.clone());
        self.keyspace.insert(key, entry);
    }

    pub(crate) fn remove(&mut self, key: &Key) -> bool {
        let existed = self.keyspace.remove(key).is_some();
        if existed {
            self.dirty.insert(key.clone());
        }
        existed
    }

    /// Sends a message to the subscribers of this server, and answers how many they are.
    pub(crate) fn deliver(&mut self, channel: &[u8], message: &[u8]) -> usize {
        let subscribers = self.clients.iter().filter(|(_, client)| client.channels.contains(channel));
        let before = self.outbox.len();
        self.outbox.extend(subscribers.map(|(client, _)| Push {
            client: *client,
            channel: channel.to_vec(),
            message: message.to_vec(),
        }));
        self.outbox.len() - before
    }

    pub(crate) fn subscribers(&self, channel: &[u8]) -> usize {
        self.clients.values().filter(|client| client.channels.contains(channel)).count()
    }

    /// The user of a client, with the name.
    pub(crate) fn user(&self, client: ClientId) -> Option<(&str, &User)> {
        let name = self.clients.get(&client)?.user.as_deref()?;
        Some((name, self.users.get(name)?))
    }
}

/// 40 random hexadecimal digits.
pub(crate) fn run_id(random: &mut fastrand::Rng) -> String {
    (0..40).map(|_| char::from_digit(random.u32(..16), 16).unwrap_or_default()).collect()
}
