//! A primary, its replica, and three sentinels that watch them.

use locker_host::{Locker, Redis};

use super::{RedisServer, until};

pub(crate) struct Sentinels {
    pub(crate) primary: RedisServer,
    pub(crate) replica: RedisServer,
    sentinels: Vec<RedisServer>,
}

impl Sentinels {
    pub(crate) async fn start() -> Self {
        let (primary, replica) = (RedisServer::start().await, RedisServer::start().await);
        replica.follow(&primary).await;
        let mut sentinels = Vec::new();
        for _ in 0..3 {
            sentinels.push(RedisServer::start_sentinel(&watch(&primary)).await);
        }
        let all = Self { primary, replica, sentinels };
        for sentinel in &all.sentinels {
            until(async || knows_all(&sentinel.run::<String>(&["INFO", "sentinel"]).await)).await;
        }
        all
    }

    pub(crate) fn url(&self) -> String {
        let hosts: Vec<_> = self.sentinels.iter().map(|node| format!("127.0.0.1:{}", node.port())).collect();
        format!("redis+sentinel://{}/main", hosts.join(","))
    }

    pub(crate) fn locker(&self) -> Locker {
        Locker::new(Redis::open(&self.url()).unwrap()).unwrap()
    }
}

fn watch(primary: &RedisServer) -> String {
    let port = primary.port();
    format!(
        "sentinel monitor main 127.0.0.1 {port} 2\nsentinel down-after-milliseconds main 500\nsentinel failover-timeout main 3000\n"
    )
}

fn knows_all(info: &str) -> bool {
    info.contains("status=ok") && info.contains("slaves=1,sentinels=3")
}
