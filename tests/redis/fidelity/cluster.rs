//! Two nodes of a cluster, while a slot moves from one to the other.

use std::sync::Mutex;

use locker_simulated_redis::{Cluster as View, Node, slot_of};
use proptest::prelude::*;
use redis::Value;

use super::twin::Twin;
use super::{Step, for_all, locks, runtime, words};
use crate::harness::{Cluster, RedisServer};

struct Nodes {
    /// The node that has nearly all slots, and another one.
    twins: [Twin; 2],
    /// How both see the cluster while no slot moves.
    view: View,
    slot: u16,
    _others: Vec<RedisServer>,
}

#[derive(Clone, Debug)]
enum Event {
    Step {
        node: usize,
        step: Step,
    },
    /// The client may use the slot at the node that imports it.
    Ask {
        client: usize,
        step: Step,
    },
    /// The slot begins to move.
    Begin,
    /// A key moves.
    Move(String),
}

impl Nodes {
    async fn start() -> Self {
        let cluster = Cluster::start_lopsided().await;
        let mut nodes = Vec::new();
        for (number, node) in cluster.nodes.iter().enumerate() {
            let id: String = node.run(&["CLUSTER", "MYID"]).await;
            let replicates = (number == 3).then_some(0);
            nodes.push(Node { id, host: "127.0.0.1".into(), port: node.port(), replicates });
        }
        let mut view = View::divided(nodes, 0);
        (0..16382).for_each(|slot| view.assign(slot, 0));
        (1..3).for_each(|node| view.assign(16381 + u16::try_from(node).unwrap(), node));
        let mut others = cluster.nodes;
        let twins = [others.remove(0), others.remove(0)].map(Twin::of);
        Self { twins, view, slot: slot_of(b"lock:job"), _others: others }
    }

    fn reset(&mut self) {
        for (me, twin) in self.twins.iter_mut().enumerate() {
            set_slot(twin, self.slot, &["STABLE"]);
            twin.reset();
            twin.simulated.set_cluster(View { me, ..self.view.clone() });
        }
    }

    fn take(&mut self, event: &Event) -> Result<(), String> {
        match event {
            Event::Step { node, step } => self.twins[*node].take(step)?,
            Event::Ask { client, step } => {
                _ = self.twins[1].call(*client, &words(&["ASKING"]))?;
                self.twins[1].take(step)?;
            }
            Event::Begin => self.begin(),
            Event::Move(key) => self.move_key(key),
        }
        self.exchange_messages();
        Ok(())
    }

    fn begin(&mut self) {
        let [from, to] = &mut self.twins;
        set_slot(to, self.slot, &["IMPORTING", &self.view.nodes[0].id]);
        set_slot(from, self.slot, &["MIGRATING", &self.view.nodes[1].id]);
        from.simulated.cluster().unwrap().migrating.insert(self.slot, 1);
        to.simulated.cluster().unwrap().importing.insert(self.slot, 0);
    }

    fn move_key(&mut self, key: &str) {
        let [from, to] = &mut self.twins;
        if slot_of(key.as_bytes()) != self.slot || from.simulated.cluster().unwrap().migrating.is_empty() {
            return;
        }
        let now = from.set_time();
        to.simulated.set_clock(now);
        let port = self.view.nodes[1].port.to_string();
        _ = from.ask(&["MIGRATE", "127.0.0.1", &port, key, "0", "5000", "REPLACE"]);
        from.simulated.migrate(key.as_bytes(), &mut to.simulated);
    }

    /// Lets each node know what the other one published.
    fn exchange_messages(&mut self) {
        let [one, other] = &mut self.twins;
        one.simulated.take_broadcasts().iter().for_each(|message| other.simulated.deliver(message));
        other.simulated.take_broadcasts().iter().for_each(|message| one.simulated.deliver(message));
        self.twins.iter_mut().for_each(|twin| _ = twin.collect_messages());
    }
}

fn set_slot(twin: &mut Twin, slot: u16, state: &[&str]) {
    let reply = twin.ask(&[&["CLUSTER", "SETSLOT", &slot.to_string()], state].concat());
    assert_eq!(reply, Value::Okay, "{state:?}");
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => locks::step().prop_map(|step| Event::Step { node: 0, step }),
        1 => locks::step().prop_map(|step| Event::Step { node: 1, step }),
        3 => locks::step().prop_map(|step| Event::Ask { client: step.client(), step }),
        1 => Just(Event::Begin),
        3 => locks::key().prop_map(Event::Move),
    ]
}

#[test]
fn the_nodes_of_a_cluster_do_the_same_on_both_servers() {
    let nodes = Mutex::new(runtime().block_on(Nodes::start()));
    for_all(50, prop::collection::vec(event(), 1..40), |events| {
        let mut nodes = nodes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        nodes.reset();
        nodes.twins.iter_mut().try_for_each(|twin| twin.call(0, &words(&["CLUSTER", "SLOTS"])).map(drop))?;
        events.iter().try_for_each(|event| nodes.take(event))?;
        nodes.twins.iter_mut().try_for_each(Twin::compare_messages)
    });
}
