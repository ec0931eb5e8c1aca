//! Channels.

use redis::{PushKind, Value};

use crate::call::Call;
use crate::glob;
use crate::pushes::Broadcast;
use crate::value::{Reply, bulk, integer};

pub(crate) fn publish(call: &mut Call<'_>) -> Reply {
    let message = Broadcast { channel: call.arg(1).to_vec(), message: call.arg(2).to_vec() };
    let heard = call.state.deliver(&message.channel, &message.message);
    // A cluster passes messages on by itself; otherwise they reach the replicas as writes do.
    if call.state.cluster.is_some() {
        call.state.broadcasts.push(message);
    } else {
        call.state.published.push(message);
    }
    Ok(integer(heard))
}

/// The reply to each channel is a push. The redis crate sends one channel at a time, so only the last push is returned.
fn change(
    call: &mut Call<'_>,
    kind: PushKind,
    change: impl Fn(&mut std::collections::BTreeSet<Vec<u8>>, &[u8]),
) -> Reply {
    let Some(client) = call.state.clients.get_mut(&call.client) else { return Ok(Value::Nil) };
    let mut last = Value::Nil;
    for channel in &call.args[1..] {
        change(&mut client.channels, channel);
        last = bulk(channel);
    }
    Ok(Value::Push { kind, data: vec![last, integer(client.channels.len())] })
}

pub(crate) fn subscribe(call: &mut Call<'_>) -> Reply {
    change(call, PushKind::Subscribe, |channels, channel| _ = channels.insert(channel.to_vec()))
}

pub(crate) fn unsubscribe(call: &mut Call<'_>) -> Reply {
    if call.args.len() == 1
        && let Some(client) = call.state.clients.get_mut(&call.client)
    {
        client.channels.clear();
    }
    change(call, PushKind::Unsubscribe, |channels, channel| _ = channels.remove(channel))
}

pub(crate) fn count_subscribers(call: &mut Call<'_>) -> Reply {
    let count = |channel: &Vec<u8>| [bulk(channel), integer(call.state.subscribers(channel))];
    Ok(Value::Array(call.args[2..].iter().flat_map(count).collect()))
}

pub(crate) fn channels(call: &mut Call<'_>) -> Reply {
    let all: std::collections::BTreeSet<_> =
        call.state.clients.values().flat_map(|client| client.channels.iter()).collect();
    let pattern = call.args.get(2);
    let matching = all.into_iter().filter(|channel| pattern.is_none_or(|pattern| glob::matches(pattern, channel)));
    Ok(Value::Array(matching.map(bulk).collect()))
}
