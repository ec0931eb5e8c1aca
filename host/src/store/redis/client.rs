//! A connection to one server or to a cluster, through which commands are sent.

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr};
use redis::{Cmd, FromRedisValue, Pipeline, RedisFuture, RedisResult, Value, cmd};

/// How long a server waits for its replicas, in milliseconds.
const CONFIRMATION_MS: u64 = 1000;

#[derive(Clone)]
pub(super) enum Client {
    One(MultiplexedConnection),
    /// Manages its own connections to the nodes, and resubscribes by itself.
    Cluster(ClusterConnection),
}

impl Client {
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
        self.query_primary(slot, &wait).await
    }

    /// All keys that match a pattern and hold text, some of them twice perhaps. Servers go on serving others meanwhile.
    pub(super) async fn keys(&mut self, pattern: &str) -> RedisResult<Value> {
        let mut keys = Vec::new();
        for slot in self.primaries().await? {
            let mut cursor = 0;
            loop {
                let mut scan = cmd("SCAN");
                scan.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(1000).arg("TYPE").arg("string");
                let found: Vec<Value>;
                (cursor, found) = self.query_primary(slot, &scan).await?;
                keys.extend(found);
                if cursor == 0 {
                    break;
                }
            }
        }
        Ok(Value::Array(keys))
    }

    /// Some slot of each primary.
    async fn primaries(&mut self) -> RedisResult<Vec<u16>> {
        let Self::Cluster(connection) = self else { return Ok(vec![0]) };
        let ranges: Vec<Vec<Value>> = cmd("CLUSTER").arg("SLOTS").query_async(connection).await?;
        let (mut primaries, mut slots) = (Vec::new(), Vec::new());
        for range in ranges {
            // First and last slot, the primary, its replicas.
            if let [Value::Int(first), _, primary, ..] = &range[..]
                && !primaries.contains(primary)
            {
                primaries.push(primary.clone());
                slots.extend(u16::try_from(*first));
            }
        }
        Ok(slots)
    }

    async fn query_primary<T: FromRedisValue>(&mut self, slot: u16, command: &Cmd) -> RedisResult<T> {
        match self {
            Self::One(connection) => command.query_async(connection).await,
            Self::Cluster(connection) => {
                let node = SingleNodeRoutingInfo::SpecificNode(Route::new(slot, SlotAddr::Master));
                let answer = connection.route_command(command.clone(), RoutingInfo::SingleNode(node)).await?;
                Ok(T::from_redis_value(answer)?)
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

impl ConnectionLike for Client {
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
