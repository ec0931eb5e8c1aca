//! Which node of a cluster serves which slot, as one node sees it.

use std::collections::BTreeMap;

use redis::Value;

use crate::value::{bulk, integer};
use crate::version::Version;

/// How many hash slots there are.
pub const SLOTS: u16 = 16384;

/// A node's view of its cluster. Nodes may have different views for a while.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// All nodes.
    pub nodes: Vec<Node>,
    /// Which of the nodes this one is.
    pub me: usize,
    /// The primary that serves each slot.
    pub owners: Vec<Option<usize>>,
    /// Slots that move from this node to another one.
    pub migrating: BTreeMap<u16, usize>,
    /// Slots that move from another node to this one.
    pub importing: BTreeMap<u16, usize>,
    /// Whether the node takes the cluster as down.
    pub is_down: bool,
}

/// A node of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// 40 hexadecimal digits.
    pub id: String,
    /// The address that clients are redirected to.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The primary that this node replicates.
    pub replicates: Option<usize>,
}

/// Why a node does not serve a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Redirection {
    CrossSlot,
    Unstable,
    Unbound,
    Down,
    Ask(u16, usize),
    Moved(u16, usize),
}

/// What a request needs of its slot.
pub(crate) struct Request<'a> {
    pub(crate) keys: &'a [Vec<u8>],
    pub(crate) asking: bool,
    /// Whether the client reads, and accepts answers of a replica.
    pub(crate) may_read_here: bool,
}

impl Cluster {
    /// The view of a node in a cluster whose slots are divided equally among the primaries.
    #[must_use]
    pub fn divided(nodes: Vec<Node>, me: usize) -> Self {
        let primaries: Vec<_> = (0..nodes.len()).filter(|node| nodes[*node].replicates.is_none()).collect();
        let owner = |slot: usize| primaries.get(slot * primaries.len() / usize::from(SLOTS)).copied();
        let owners = (0..usize::from(SLOTS)).map(owner).collect();
        Self { nodes, me, owners, migrating: BTreeMap::new(), importing: BTreeMap::new(), is_down: false }
    }

    /// Which node serves a slot.
    #[must_use]
    pub fn owner(&self, slot: u16) -> Option<usize> {
        self.owners.get(usize::from(slot)).copied().flatten()
    }

    /// Gives a slot to a node, and ends its move.
    pub fn assign(&mut self, slot: u16, node: usize) {
        if let Some(owner) = self.owners.get_mut(usize::from(slot)) {
            *owner = Some(node);
        }
        self.migrating.remove(&slot);
        self.importing.remove(&slot);
    }

    /// Where a request is served, if that is not here. Follows `getNodeByQuery` of Redis.
    pub(crate) fn route(&self, request: &Request<'_>, exists: impl Fn(&[u8]) -> bool) -> Result<(), Redirection> {
        let Some(first) = request.keys.first() else { return Ok(()) };
        let slot = slot_of(first);
        let owner = self.owner(slot).ok_or(Redirection::Unbound)?;
        if request.keys.iter().any(|key| slot_of(key) != slot) {
            return Err(Redirection::CrossSlot);
        }
        if self.is_down {
            return Err(Redirection::Down);
        }
        let target = self.migrating.get(&slot).filter(|_| owner == self.me);
        let imports = self.importing.contains_key(&slot) && owner != self.me;
        let present = request.keys.iter().filter(|key| exists(key)).count();
        let is_missing = present < request.keys.len();
        if let Some(target) = target.filter(|_| is_missing) {
            return Err(if present > 0 { Redirection::Unstable } else { Redirection::Ask(slot, *target) });
        }
        if imports && request.asking {
            let several = request.keys.iter().any(|key| key != first);
            return if several && is_missing { Err(Redirection::Unstable) } else { Ok(()) };
        }
        let replicates_owner = self.nodes.get(self.me).is_some_and(|node| node.replicates == Some(owner));
        if owner == self.me || (request.may_read_here && replicates_owner) {
            return Ok(());
        }
        Err(Redirection::Moved(slot, owner))
    }

    /// What a client is told.
    pub(crate) fn text(&self, redirection: &Redirection) -> String {
        let to = |word: &str, slot: u16, node: usize| {
            let Node { host, port, .. } = &self.nodes[node];
            format!("{word} {slot} {host}:{port}")
        };
        match redirection {
            Redirection::CrossSlot => "CROSSSLOT Keys in request don't hash to the same slot".into(),
            Redirection::Unstable => "TRYAGAIN Multiple keys request during rehashing of slot".into(),
            Redirection::Unbound => "CLUSTERDOWN Hash slot not served".into(),
            Redirection::Down => "CLUSTERDOWN The cluster is down".into(),
            Redirection::Ask(slot, node) => to("ASK", *slot, *node),
            Redirection::Moved(slot, node) => to("MOVED", *slot, *node),
        }
    }

    /// The reply to `CLUSTER SLOTS`: ranges of slots with their nodes, the primary first.
    pub(crate) fn slots_reply(&self) -> Value {
        let mut ranges: Vec<(usize, usize, usize)> = Vec::new();
        for (slot, owner) in self.owners.iter().enumerate() {
            let Some(owner) = *owner else { continue };
            match ranges.last_mut() {
                Some((_, last, same)) if *same == owner && *last + 1 == slot => *last = slot,
                _ => ranges.push((slot, slot, owner)),
            }
        }
        let replicas = |owner| self.nodes.iter().filter(move |node| node.replicates == Some(owner));
        let range = |(first, last, owner): (usize, usize, usize)| {
            let nodes = std::iter::once(&self.nodes[owner]).chain(replicas(owner));
            Value::Array([integer(first), integer(last)].into_iter().chain(nodes.map(node_reply)).collect())
        };
        Value::Array(ranges.into_iter().map(range).collect())
    }
}

fn node_reply(node: &Node) -> Value {
    Value::Array(vec![bulk(&node.host), Value::Int(node.port.into()), bulk(&node.id), Value::Map(Vec::new())])
}

impl Redirection {
    /// What a script is told that calls a command.
    pub(crate) fn text_in_script(&self, version: Version, command: &str) -> String {
        match self {
            Self::CrossSlot => "ERR Script attempted to access keys that do not hash to the same slot",
            Self::Down if version == Version::Valkey9 => {
                return format!("ERR Can not execute a command '{command}' while the cluster is down");
            }
            Self::Down => "ERR Script attempted to execute a command while the cluster is down",
            _ if version == Version::Valkey9 => "ERR Attempted to access a non local key in a cluster node",
            _ => "ERR Script attempted to access a non local key in a cluster node",
        }
        .to_owned()
    }
}

/// The hash slot of a key: of its tag, if it has one that is not empty.
#[must_use]
pub fn slot_of(key: &[u8]) -> u16 {
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        rest.iter().position(|byte| *byte == b'}').map(|close| &rest[..close])
    });
    let hashed = tag.filter(|tag| !tag.is_empty()).unwrap_or(key);
    let shift = |crc: u16| if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 };
    hashed.iter().fold(0_u16, |crc, byte| (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| shift(crc))) % SLOTS
}
