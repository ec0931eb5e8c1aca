//! A connection to one server or to a cluster: what commands are sent through.

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr};
use redis::{Cmd, FromRedisValue, Pipeline, RedisFuture, RedisResult, Value, cmd};

/// How long a server waits for its replicas, in milliseconds.
const CONFIRMATION_MS: u64 = 1000;

#[derive(Clone)]
pub(super) enum Link {
    One(MultiplexedConnection),
    /// Looks after its own connections to the nodes, and subscribes anew by itself.
    Cluster(ClusterConnection),
}

impl Link {
    pub(super) async fn subscribe(&mut self, channel: &str) -> RedisResult<()> {
        match self {
            Self::One(connection) => connection.subscribe(channel).await,
            Self::Cluster(connection) => connection.subscribe(channel).await,
        }
    }

    /// How many replicas have confirmed what was written through this connection to a slot, once it is this many or a
    /// second has passed.
    pub(super) async fn confirmations(&mut self, replicas: u32, slot: u16) -> RedisResult<i64> {
        let mut wait = cmd("WAIT");
        wait.arg(replicas).arg(CONFIRMATION_MS);
        match self {
            Self::One(connection) => wait.query_async(connection).await,
            Self::Cluster(connection) => {
                let node = SingleNodeRoutingInfo::SpecificNode(Route::new(slot, SlotAddr::Master));
                let confirmed = connection.route_command(wait, RoutingInfo::SingleNode(node)).await?;
                Ok(i64::from_redis_value(confirmed)?)
            }
        }
    }

    pub(super) async fn unsubscribe(&mut self, channel: &str) -> RedisResult<()> {
        match self {
            Self::One(connection) => connection.unsubscribe(channel).await,
            Self::Cluster(connection) => connection.unsubscribe(channel).await,
        }
    }
}

impl ConnectionLike for Link {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::One(connection) => connection.req_packed_command(cmd),
            Self::Cluster(connection) => connection.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::One(connection) => connection.req_packed_commands(pipeline, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::One(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}
