//! Members of a quorum that are more than one server, or that need logins and certificates of their own.

use std::sync::Arc;

use locker_host::{Locker, Quorum, QuorumMember, Redis, UnlockOutcome};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::harness::{Cluster, Command, LONG, RedisServer, Sentinels, Tls, granted, held, until};

struct Members {
    cluster: Cluster,
    sentinels: Sentinels,
    server: Tls,
}

impl Members {
    /// A cluster, a primary with sentinels, and a server with TLS and a login.
    async fn start() -> Self {
        let (cluster, sentinels, server) = tokio::join!(Cluster::start(), Sentinels::start(), Tls::start());
        () = server.plain().run(&["ACL", "SETUSER", "app", "on", ">secret", "~*", "&*", "+@all"]).await;
        () = server.plain().run(&["ACL", "SETUSER", "default", "-@all", "+ping", "+get", "+exists", "+info"]).await;
        Self { cluster, sentinels, server }
    }

    fn urls(&self) -> [String; 3] {
        let server = self.server.url().replace("://", "://app:secret@");
        [self.cluster.url(), self.sentinels.url(), server]
    }

    fn locker(&self) -> Locker {
        let pem = std::fs::read(self.server.authority()).unwrap();
        let [cluster, sentinels, server] = self.urls().map(|url| Redis::open(&url).unwrap());
        let members = [cluster, sentinels, server.root_certificates(pem)];
        let members = members.map(|member| Arc::new(member) as Arc<dyn QuorumMember>);
        Locker::new(Quorum::new(members.into()).unwrap()).unwrap()
    }
}

#[tokio::test]
async fn a_cluster_sentinels_and_a_server_with_tls_and_a_login_are_a_quorum() {
    let mut members = Members::start().await;
    let locker = members.locker();
    let lease = granted(locker.lock("job", LONG).await);
    until(async || members.server.plain().stored("job").await.is_some()).await;
    until(async || members.sentinels.primary.stored("job").await.is_some()).await;
    members.sentinels.primary.kill();
    held(members.locker().lock("job", LONG).await);
    assert_eq!(locker.unlock("job", &lease.token).await.unwrap(), UnlockOutcome::Released);
    granted(members.locker().lock("job", LONG).await);
}

#[tokio::test]
async fn the_command_takes_urls_with_several_hosts_and_a_login_each() {
    let members = Members::start().await;
    let authority = members.server.authority();
    let locked = Command::new(&["lock", "job", "--ca", authority.to_str().unwrap()])
        .env("LOCKER_CACHE", &members.urls().join(","))
        .run()
        .await;
    assert_eq!(locked.code, Some(0), "{locked:?}");
    held(members.locker().lock("job", LONG).await);
}

#[tokio::test]
async fn calls_without_a_majority_cost_a_task_a_member_and_leave_nothing_when_it_is_back() {
    let mut servers = [RedisServer::start().await, RedisServer::start().await, RedisServer::start().await];
    let member = |server: &RedisServer| Arc::new(server.redis()) as Arc<dyn QuorumMember>;
    let locker = Locker::new(Quorum::new(servers.iter().map(member).collect()).unwrap()).unwrap();
    granted(locker.lock("before", LONG).await);
    servers[1].kill();
    servers[2].kill();
    let mut calls = JoinSet::new();
    for number in 0..300 {
        let locker = locker.clone();
        calls.spawn(async move { locker.lock(&format!("job-{number}"), LONG).await.unwrap_err() });
    }
    calls.join_all().await;
    let tasks = || Handle::current().metrics().num_alive_tasks();
    until(async || tasks() < 30).await;
    for server in &mut servers[1..] {
        server.start_again().await;
    }
    until(async || locker.list().await.is_ok_and(|locks| locks.len() <= 1)).await;
    for server in &servers {
        until(async || !server.keys().await.iter().any(|key| key.starts_with("lock:job-"))).await;
    }
}
