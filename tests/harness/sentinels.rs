//! A primary, its replica, and three sentinels that watch them.

use std::sync::Arc;

use locker_host::{Locker, Redis};

use super::{Host, RedisServer, until};

pub(crate) struct Sentinels {
    pub(crate) primary: RedisServer,
    pub(crate) replica: RedisServer,
    pub(crate) sentinels: Vec<RedisServer>,
}

impl Sentinels {
    pub(crate) async fn start() -> Self {
        Self::start_on(|| None).await
    }

    /// Starts each of them on a host of its own.
    pub(crate) async fn start_on(host: impl Fn() -> Option<Arc<Host>>) -> Self {
        let server = async || RedisServer::start_on(host(), |_| Vec::new()).await;
        let (primary, replica) = (server().await, server().await);
        replica.follow(&primary).await;
        let mut sentinels = Vec::new();
        for _ in 0..3 {
            sentinels.push(RedisServer::start_sentinel(host(), &watch(&primary)).await);
        }
        let all = Self { primary, replica, sentinels };
        for sentinel in &all.sentinels {
            until(async || knows_all(&sentinel.run::<String>(&["INFO", "sentinel"]).await)).await;
        }
        all
    }

    pub(crate) fn url(&self) -> String {
        let hosts: Vec<_> = self.sentinels.iter().map(|node| format!("{}:{}", node.address(), node.port())).collect();
        format!("redis+sentinel://{}/main", hosts.join(","))
    }

    pub(crate) fn locker(&self) -> Locker {
        Locker::new(Redis::open(&self.url()).unwrap()).unwrap()
    }
}

fn watch(primary: &RedisServer) -> String {
    let (address, port) = (primary.address(), primary.port());
    format!(
        "sentinel monitor main {address} {port} 2\nsentinel down-after-milliseconds main 500\nsentinel failover-timeout main 3000\n"
    )
}

fn knows_all(info: &str) -> bool {
    info.contains("status=ok") && info.contains("slaves=1,sentinels=3")
}
