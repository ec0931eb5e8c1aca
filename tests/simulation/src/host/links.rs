//! What is on its way on a connection, in each direction in its order.

use std::sync::{Arc, Weak};
use std::time::Duration;

use locker_simulated_redis::Push;
use redis::{RedisResult, Value};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::asked::{Asked, Words};
use super::network::Connection;
use super::sites::Peer;
use super::waiters::Answered;
use super::world::{Route, World};

/// A request on its way.
pub(super) struct Arriving {
    pub(super) words: Words,
    /// When it arrives, in the time of the world.
    pub(super) at: Duration,
    pub(super) reply: oneshot::Sender<RedisResult<Value>>,
}

/// The answer to a request.
pub(super) struct Reply {
    pub(super) to: oneshot::Sender<RedisResult<Value>>,
    pub(super) answer: RedisResult<Value>,
    pub(super) answered: Option<Answered>,
}

/// What is on its way to a process.
pub(super) enum Down {
    Reply(Reply),
    Push(Push),
}

/// Delivers what a process sends, also after the process has given the connection up. Then the server closes it.
pub(super) async fn uplink(
    world: Arc<World>,
    connection: Weak<Connection>,
    (process, peer): (usize, Peer),
    mut requests: UnboundedReceiver<Arriving>,
    down: UnboundedSender<(Duration, Down)>,
) {
    let route = Route { process, site: peer.site };
    while let Some(Arriving { words, at, reply }) = requests.recv().await {
        sleep(at.saturating_sub(world.now())).await;
        // What stalls the connection or the server may have begun meanwhile.
        while let Some(stalled) = world.stalls(route, Some(peer)) {
            sleep(stalled).await;
        }
        world.replicas_confirm(peer, &words).await;
        let asked = Asked::of(&words);
        let Some(answer) = world.execute(process, peer, &words, &asked) else {
            if let Some(connection) = connection.upgrade() {
                connection.disconnect();
            }
            continue;
        };
        let answered = answer.as_ref().ok().and_then(|answer| Answered::of(&asked, answer));
        let reply = Reply { to: reply, answer, answered };
        _ = down.send((world.now() + world.latency(route), Down::Reply(reply)));
    }
    world.closed(peer);
}

/// Delivers what the server sends, as long as the process has the connection.
pub(super) async fn downlink(
    world: Arc<World>,
    connection: Weak<Connection>,
    route: Route,
    mut replies: UnboundedReceiver<(Duration, Down)>,
) {
    while let Some((at, down)) = replies.recv().await {
        sleep(at.saturating_sub(world.now())).await;
        while let Some(stalled) = world.hangs(route) {
            sleep(stalled).await;
        }
        let Some(connection) = connection.upgrade() else { return };
        down.arrive(&connection);
    }
}
