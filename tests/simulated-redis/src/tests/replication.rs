//! A primary and its replicas.

use redis::Value;

use super::{SECOND, error, eval, run, server, text};
use crate::{Condition, Server, Version};

/// A primary with a replica that has its data.
fn pair() -> (Server, Server) {
    let ((mut primary, _), (mut replica, _)) = (server(), server());
    replica.follow(&mut primary);
    (primary, replica)
}

#[test]
fn a_replica_has_what_it_has_applied() {
    let (mut primary, mut replica) = pair();
    let client = primary.connect();
    for command in ["SET a 1", "SET a 2", "SET a 3"] {
        run(&mut primary, client, command).unwrap();
    }
    let transactions = primary.transactions_after(replica.offset());
    transactions[..2].iter().for_each(|transaction| replica.apply(transaction));
    let reader = replica.connect();
    assert_eq!(run(&mut replica, reader, "GET a").unwrap(), text("2"));
    assert_eq!(primary.transactions_after(replica.offset()).len(), 1);
}

#[test]
fn a_script_is_replicated_as_its_effects_in_one_transaction() {
    let (mut primary, replica) = pair();
    let client = primary.connect();
    let code = "redis.call('SET', KEYS[1], redis.call('TIME')[1]) redis.call('ZADD', KEYS[2], 1, 'm')";
    eval(&mut primary, client, code, &["a", "b"]).unwrap();
    assert_eq!(primary.transactions_after(replica.offset()).len(), 1);
}

#[test]
fn a_message_reaches_the_subscribers_of_a_replica_but_the_primary_does_not_count_them() {
    let (mut primary, mut replica) = pair();
    let (client, subscriber) = (primary.connect(), replica.connect());
    run(&mut replica, subscriber, "SUBSCRIBE news").unwrap();
    let counted = run(&mut primary, client, "PUBSUB NUMSUB news").unwrap();
    assert_eq!(counted, Value::Array(vec![text("news"), Value::Int(0)]));
    assert_eq!(run(&mut primary, client, "PUBLISH news hot").unwrap(), Value::Int(0));
    replica.catch_up(&mut primary);
    assert_eq!(replica.take_pushes()[0].client, subscriber);
}

#[test]
fn a_replica_refuses_writes_until_it_is_promoted() {
    let (_, mut replica) = pair();
    let client = replica.connect();
    let refused = "READONLY You can't write against a read only replica.";
    assert_eq!(error(run(&mut replica, client, "SET a 1")), refused);
    assert!(error(eval(&mut replica, client, "redis.call('SET', 'a', '1')", &[])).starts_with(refused));
    replica.promote();
    run(&mut replica, client, "SET a 1").unwrap();
}

#[test]
fn a_replica_shows_no_expired_key_but_waits_for_its_primary_to_delete_it() {
    let (mut primary, mut replica) = pair();
    let (client, reader) = (primary.connect(), replica.connect());
    run(&mut primary, client, "SET a 1 PX 1000").unwrap();
    replica.catch_up(&mut primary);
    let now = replica.clock();
    replica.set_clock(now + 2 * SECOND);
    assert_eq!(run(&mut replica, reader, "GET a").unwrap(), Value::Nil);
    replica.set_clock(now);
    assert_eq!(run(&mut replica, reader, "GET a").unwrap(), text("1"));
}

#[test]
fn a_wait_counts_the_replicas_that_have_confirmed_the_writes_of_the_client() {
    let (mut primary, mut replica) = pair();
    let (client, other) = (primary.connect(), primary.connect());
    run(&mut primary, client, "SET a 1").unwrap();
    assert_eq!(run(&mut primary, client, "WAIT 1 1000").unwrap(), Value::Int(0));
    assert_eq!(primary.confirmations(other), 1);
    replica.catch_up(&mut primary);
    assert_eq!(run(&mut primary, client, "WAIT 1 1000").unwrap(), Value::Int(1));
}

#[test]
fn a_wait_covers_what_others_wrote_on_old_versions_only() {
    for (version, confirmations) in [(Version::Redis7, 0), (Version::Redis8, 1)] {
        let (mut primary, mut replica) = (Server::new(version, 1), Server::new(version, 2));
        replica.follow(&mut primary);
        let (client, other) = (primary.connect(), primary.connect());
        run(&mut primary, client, "SET a 1").unwrap();
        run(&mut primary, other, "PING").unwrap();
        assert_eq!(run(&mut primary, other, "WAIT 1 1000").unwrap(), Value::Int(confirmations));
    }
}

#[test]
fn a_promoted_replica_lacks_what_it_had_not_applied_and_the_old_primary_loses_it() {
    let (mut old, mut new) = pair();
    let client = old.connect();
    run(&mut old, client, "SET a 1").unwrap();
    new.catch_up(&mut old);
    run(&mut old, client, "SET b 1").unwrap();
    new.promote();
    old.follow(&mut new);
    assert_eq!(run(&mut old, client, "GET a").unwrap(), text("1"));
    assert_eq!(run(&mut old, client, "GET b").unwrap(), Value::Nil);
}

#[test]
fn an_evicted_key_is_deleted_at_the_replica_too() {
    let (mut primary, mut replica) = pair();
    let client = primary.connect();
    run(&mut primary, client, "SET a 1").unwrap();
    assert!(primary.evict(b"a"));
    replica.catch_up(&mut primary);
    assert!(replica.keys().is_empty());
}

#[test]
fn a_replica_without_its_primary_may_refuse_to_answer() {
    let (_, mut replica) = pair();
    let client = replica.connect();
    replica.set_condition(Condition::Stale);
    assert!(error(run(&mut replica, client, "GET a")).starts_with("MASTERDOWN "));
}
