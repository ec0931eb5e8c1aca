//! A Redis cluster of three primaries, the first of which has a replica.

use std::sync::Arc;

use locker_host::{Locker, Redis};

use super::{Host, RedisServer, until};
use crate::harness::redis_server::free_port;

pub(crate) struct Cluster {
    /// Three primaries, and the replica of the first.
    pub(crate) nodes: Vec<RedisServer>,
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        Self::start_with(|| None, [("0", "5460"), ("5461", "10922"), ("10923", "16383")]).await
    }

    /// A cluster whose first node, the one with the replica, has all slots but two.
    pub(crate) async fn start_lopsided() -> Self {
        Self::start_lopsided_on(|| None).await
    }

    /// Starts each node of a lopsided cluster on a host of its own.
    pub(crate) async fn start_lopsided_on(host: impl Fn() -> Option<Arc<Host>>) -> Self {
        Self::start_with(host, [("0", "16381"), ("16382", "16382"), ("16383", "16383")]).await
    }

    async fn start_with(host: impl Fn() -> Option<Arc<Host>>, ranges: [(&str, &str); 3]) -> Self {
        let mut nodes = Vec::new();
        for _ in 0..4 {
            nodes.push(RedisServer::start_on(host(), |_| settings()).await);
        }
        let cluster = Self { nodes };
        for (node, (first, last)) in cluster.nodes.iter().zip(ranges) {
            () = node.run(&["CLUSTER", "ADDSLOTSRANGE", first, last]).await;
        }
        let [first, others @ ..] = &cluster.nodes[..] else { unreachable!() };
        for node in others {
            let bus: String = node.run::<Vec<String>>(&["CONFIG", "GET", "cluster-port"]).await.remove(1);
            () = first.run(&["CLUSTER", "MEET", node.address(), &node.port().to_string(), &bus]).await;
        }
        let id: String = first.run(&["CLUSTER", "MYID"]).await;
        let replica = &cluster.nodes[3];
        until(async || replica.run::<String>(&["CLUSTER", "NODES"]).await.contains(&id)).await;
        () = replica.run(&["CLUSTER", "REPLICATE", &id]).await;
        for node in &cluster.nodes {
            until(async || is_whole(&node.run::<String>(&["CLUSTER", "INFO"]).await)).await;
        }
        replica.replicates("master_link_status:up").await;
        cluster
    }

    /// Says that a key's slot is to be moved, and answers the slot.
    pub(crate) async fn begin_to_move_slot_of(&self, key: &str, from: usize, to: usize) -> String {
        let (from, to) = (&self.nodes[from], &self.nodes[to]);
        let slot = from.run::<u64>(&["CLUSTER", "KEYSLOT", key]).await.to_string();
        let (old, new): (String, String) = (from.run(&["CLUSTER", "MYID"]).await, to.run(&["CLUSTER", "MYID"]).await);
        () = to.run(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &old]).await;
        () = from.run(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &new]).await;
        slot
    }

    /// Moves a key's slot, with all that lies in it.
    pub(crate) async fn move_slot_of(&self, key: &str, from: usize, to: usize) {
        let slot = self.begin_to_move_slot_of(key, from, to).await;
        let (from, to) = (&self.nodes[from], &self.nodes[to]);
        let new: String = to.run(&["CLUSTER", "MYID"]).await;
        for key in from.run::<Vec<String>>(&["CLUSTER", "GETKEYSINSLOT", &slot, "9"]).await {
            () = from.run(&["MIGRATE", to.address(), &to.port().to_string(), &key, "0", "5000"]).await;
        }
        for node in [to, from] {
            () = node.run(&["CLUSTER", "SETSLOT", &slot, "NODE", &new]).await;
        }
    }

    pub(crate) fn url(&self) -> String {
        let hosts: Vec<_> = self.nodes.iter().map(|node| format!("{}:{}", node.address(), node.port())).collect();
        format!("redis+cluster://{}", hosts.join(","))
    }

    pub(crate) fn locker(&self) -> Locker {
        Locker::new(Redis::open(&self.url()).unwrap()).unwrap()
    }
}

fn settings() -> Vec<String> {
    let bus = free_port().to_string();
    let settings = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-port", &bus];
    settings.map(str::to_owned).into()
}

fn is_whole(info: &str) -> bool {
    ["cluster_state:ok", "cluster_slots_ok:16384", "cluster_known_nodes:4"].iter().all(|line| info.contains(line))
}
