//! Nodes of a cluster.

use redis::Value;

use super::{error, eval, run, server, text};
use crate::{ClientId, Cluster, Node, Server, slot_of};

const KEY: &str = "{1}a";

fn node(number: u16, replicates: Option<usize>) -> Node {
    Node { id: format!("{number:040x}"), host: "host".into(), port: 7000 + number, replicates }
}

/// The owner of the key's slot, and another primary. Node 2 replicates the owner.
fn pair() -> [(Server, ClientId); 2] {
    let nodes = || vec![node(0, None), node(1, None), node(2, Some(0))];
    let view = |me| {
        let mut cluster = Cluster::divided(nodes(), me);
        cluster.assign(slot_of(KEY.as_bytes()), 0);
        cluster
    };
    [0, 1].map(|me| {
        let (mut server, client) = server();
        server.set_cluster(view(me));
        (server, client)
    })
}

/// Lets the slot of the key move to the other node.
fn begin_to_move([(from, _), (to, _)]: &mut [(Server, ClientId); 2]) {
    let slot = slot_of(KEY.as_bytes());
    from.cluster().unwrap().migrating.insert(slot, 1);
    to.cluster().unwrap().importing.insert(slot, 0);
}

#[test]
fn a_key_of_another_node_is_redirected() {
    let [_, (mut other, client)] = pair();
    assert_eq!(error(run(&mut other, client, &format!("GET {KEY}"))), format!("MOVED {} host:7000", slot_of(b"1")));
    assert_eq!(error(run(&mut other, client, "MGET a b")), "CROSSSLOT Keys in request don't hash to the same slot");
}

#[test]
fn a_slot_that_moves_redirects_missing_keys_and_serves_those_that_are_left() {
    let mut nodes = pair();
    begin_to_move(&mut nodes);
    let [(from, client), (to, asking)] = &mut nodes;
    from.state.cluster.as_mut().unwrap().migrating.clear();
    run(from, *client, &format!("SET {KEY} 1")).unwrap();
    from.state.cluster.as_mut().unwrap().migrating.insert(slot_of(b"1"), 1);
    assert_eq!(run(from, *client, &format!("GET {KEY}")).unwrap(), text("1"));
    assert!(error(run(from, *client, "GET {1}b")).starts_with("ASK "));
    assert!(error(run(from, *client, &format!("MGET {KEY} {{1}}b"))).starts_with("TRYAGAIN "));
    assert!(error(run(to, *asking, "GET {1}b")).starts_with("MOVED "));
    run(to, *asking, "ASKING").unwrap();
    assert_eq!(run(to, *asking, "GET {1}b").unwrap(), Value::Nil);
}

#[test]
fn a_script_cannot_use_a_key_that_has_moved() {
    let mut nodes = pair();
    let [(from, client), (to, _)] = &mut nodes;
    run(from, *client, &format!("SET {KEY} 1")).unwrap();
    from.cluster().unwrap().migrating.insert(slot_of(b"1"), 1);
    let failed = error(eval(from, *client, "return redis.call('GET', '{1}b')", &[KEY]));
    assert!(failed.starts_with("ERR Script attempted to access a non local key in a cluster node"), "{failed}");
    from.migrate(KEY.as_bytes(), to);
    assert!(from.keys_in_slot(slot_of(b"1")).is_empty());
    assert_eq!(to.keys_in_slot(slot_of(b"1")), [KEY.as_bytes()]);
}

#[test]
fn a_message_reaches_the_whole_cluster_but_only_one_node_counts_its_subscriber() {
    let [(mut one, client), (mut other, subscriber)] = pair();
    run(&mut other, subscriber, "SUBSCRIBE news").unwrap();
    assert_eq!(run(&mut one, client, "PUBLISH news hot").unwrap(), Value::Int(0));
    one.take_broadcasts().iter().for_each(|message| other.deliver(message));
    assert_eq!(other.take_pushes().len(), 1);
}

#[test]
fn a_node_says_which_node_serves_which_slots() {
    let [(mut one, client), _] = pair();
    let Value::Array(ranges) = run(&mut one, client, "CLUSTER SLOTS").unwrap() else { panic!() };
    let Value::Array(first) = &ranges[0] else { panic!() };
    assert_eq!((&first[0], first.len()), (&Value::Int(0), 4), "with a replica");
    one.cluster().unwrap().is_down = true;
    assert_eq!(error(run(&mut one, client, &format!("GET {KEY}"))), "CLUSTERDOWN The cluster is down");
}
