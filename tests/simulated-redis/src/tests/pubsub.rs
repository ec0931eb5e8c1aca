//! Messages.

use redis::{PushKind, Value};

use super::{run, server, text};

#[test]
fn a_message_is_pushed_to_each_subscriber_until_it_leaves() {
    let (mut server, client) = server();
    let subscriber = server.connect();
    let reply = run(&mut server, subscriber, "SUBSCRIBE news").unwrap();
    assert_eq!(reply, Value::Push { kind: PushKind::Subscribe, data: vec![text("news"), Value::Int(1)] });
    assert_eq!(run(&mut server, client, "PUBLISH news hot").unwrap(), Value::Int(1));
    let pushes = server.take_pushes();
    assert_eq!((pushes.len(), pushes[0].client, &pushes[0].message[..]), (1, subscriber, &b"hot"[..]));
    run(&mut server, subscriber, "UNSUBSCRIBE news").unwrap();
    assert_eq!(run(&mut server, client, "PUBLISH news cold").unwrap(), Value::Int(0));
}

#[test]
fn a_connection_that_ends_takes_its_subscriptions_along() {
    let (mut server, client) = server();
    let subscriber = server.connect();
    run(&mut server, subscriber, "SUBSCRIBE news").unwrap();
    server.disconnect(subscriber);
    let counted = run(&mut server, client, "PUBSUB NUMSUB news").unwrap();
    assert_eq!(counted, Value::Array(vec![text("news"), Value::Int(0)]));
    assert!(!server.is_connected(subscriber));
}
