//! Replicas, clusters, sentinels and quorums.

use std::sync::Arc;
use std::time::{Duration, Instant};

use locker_host::{Cache, Finding, Quorum, QuorumMember, Redis, Status};
use nix::sys::signal::{Signal, kill};
use rstest::rstest;

use super::super::refusals::permit;
use super::{KEEPS_ALL, assert_found, check, failures, start, with_login};
use crate::harness::{Cluster, LONG, Sentinels, until};

#[tokio::test]
async fn a_replica_is_found_with_its_primary() {
    let (primary, replica) = (start(&[]).await, start(&[]).await);
    replica.follow(&primary).await;
    let words = format!("point to the primary, at 127.0.0.1:{}", primary.port());
    assert_found(&check(&replica.url()).await, "role", Status::Failure, &words);
    permit(&replica, &["-info", "-hello"]).await;
    let findings = check(&with_login(&replica.url(), "locker:secret")).await;
    assert!(!failures(&findings).is_empty(), "{findings:#?}");
}

#[tokio::test]
async fn replicas_that_must_confirm_are_counted() {
    let (primary, replica) = (start(&[]).await, start(&[]).await);
    let confirmed = primary.url() + "?wait-replicas=1";
    assert_found(&check(&confirmed).await, "replicas", Status::Failure, "lower wait-replicas to 0");
    replica.follow(&primary).await;
    primary.replicates("state=online").await;
    let findings = check(&confirmed).await;
    assert_eq!(failures(&findings), Vec::<&Finding>::new());
    assert_found(&findings, "replicas", Status::Ok, "1 online, 1 of which must confirm");
    permit(&primary, &[]).await;
    assert_found(
        &check(&with_login(&confirmed, "locker:secret")).await,
        "commands",
        Status::Failure,
        "ACL SETUSER locker +wait",
    );
}

#[tokio::test]
async fn each_primary_of_a_cluster_is_checked() {
    let cluster = Cluster::start().await;
    let findings = check(&cluster.url()).await;
    assert_eq!(failures(&findings), Vec::<&Finding>::new());
    assert_found(&findings, "slots", Status::Ok, "3 primaries serve all 16384");
    for node in &cluster.nodes[..3] {
        let store = format!("Redis at 127.0.0.1:{}", node.port());
        let of_node: Vec<_> = findings.iter().filter(|found| found.store == store).cloned().collect();
        assert_found(&of_node, "hand-off", Status::Ok, "takes");
        let keys = node.keys().await;
        assert!(keys.len() == 1 && keys[0].starts_with("lock:\u{1f}fence{"), "{keys:?}");
    }
    assert_found(&findings, "replicas", Status::Warning, "no server can take over");
    assert_found(&check(&cluster.nodes[0].url()).await, "role", Status::Failure, "redis+cluster://HOST");
}

#[tokio::test]
async fn a_user_of_a_cluster_who_lacks_permissions_on_one_node_is_told_which() {
    let cluster = Cluster::start().await;
    for node in &cluster.nodes {
        permit(node, &["+cluster|slots"]).await;
    }
    let url = with_login(&cluster.url(), "locker:secret");
    let findings = check(&url).await;
    assert_eq!(failures(&findings), Vec::<&Finding>::new());
    assert_found(&findings, "slots", Status::Ok, "cluster_state is unknown");
    permit(&cluster.nodes[1], &["-publish", "-subscribe"]).await;
    let findings = check(&url).await;
    let [finding] = failures(&findings)[..] else { panic!("{findings:#?}") };
    assert_eq!(finding.store, format!("Redis at 127.0.0.1:{}", cluster.nodes[1].port()));
    assert_eq!(finding.remedy.as_deref(), Some("ACL SETUSER locker +publish +subscribe"));
}

#[rstest]
#[tokio::test]
async fn a_primary_that_is_away_is_found(#[values(Signal::SIGKILL, Signal::SIGSTOP)] signal: Signal) {
    let cluster = Cluster::start().await;
    kill(cluster.nodes[1].pid(), signal).unwrap();
    let started = Instant::now();
    let findings = Redis::open(&cluster.url()).unwrap().timeout(Duration::from_secs(1)).check().await;
    assert!(started.elapsed() < LONG / 2, "{findings:#?}");
    let stores = [format!("Redis at 127.0.0.1:{}", cluster.nodes[1].port()), "the Redis cluster".to_owned()];
    let is_about_it = |finding: &&Finding| stores.iter().any(|store| finding.store.starts_with(store));
    assert!(failures(&findings).iter().any(is_about_it), "{findings:#?}");
}

#[rstest]
#[tokio::test]
async fn a_slot_without_a_node_is_found(#[values("yes", "no")] requires_all: &str) {
    let cluster = Cluster::start().await;
    for node in &cluster.nodes {
        () = node.run(&["CONFIG", "SET", "cluster-require-full-coverage", requires_all]).await;
    }
    for node in &cluster.nodes {
        () = node.run(&["CLUSTER", "DELSLOTS", "77"]).await;
    }
    let findings = check(&cluster.url()).await;
    assert_found(&findings, "slots", Status::Failure, "1 of 16384 are served by no node");
}

#[tokio::test]
async fn sentinels_are_asked_for_the_primary() {
    let mut sentinels = Sentinels::start().await;
    let findings = check(&sentinels.url()).await;
    assert_eq!(failures(&findings), Vec::<&Finding>::new());
    let words = format!("3 of 3 name 127.0.0.1:{} as the primary", sentinels.primary.port());
    assert_found(&findings, "sentinels", Status::Ok, &words);
    assert_found(&findings, "replicas", Status::Ok, "1 online");
    sentinels.sentinels[2].kill();
    assert_found(&check(&sentinels.url()).await, "sentinels", Status::Warning, "2 of 3 name");
    let other = sentinels.url().replace("/main", "/other");
    assert_found(&check(&other).await, "sentinels", Status::Failure, "correct the name");
    assert_found(&check(&sentinels.sentinels[0].url()).await, "commands", Status::Failure, "redis+sentinel://");
}

#[tokio::test]
async fn a_quorum_warns_of_a_member_that_is_down_and_fails_without_a_majority() {
    let mut servers = [start(&KEEPS_ALL).await, start(&KEEPS_ALL).await, start(&KEEPS_ALL).await];
    let members = servers.iter().map(|server| Arc::new(server.redis()) as Arc<dyn QuorumMember>).collect();
    let quorum = Quorum::new(members).unwrap().timeout(Duration::from_secs(3));
    let findings = quorum.check().await;
    assert!(findings.iter().all(|finding| finding.status == Status::Ok), "{findings:#?}");
    servers[0].kill();
    let findings = quorum.check().await;
    assert_eq!(failures(&findings), Vec::<&Finding>::new());
    assert_found(&findings, "connection", Status::Warning, "Connection refused");
    assert_found(&findings, "members", Status::Warning, "2 of 3 are sound");
    assert_found(&findings, "hand-off", Status::Ok, "takes");
    servers[1].kill();
    let findings = quorum.check().await;
    assert_found(&findings, "connection", Status::Failure, "Connection refused");
    assert_found(&findings, "members", Status::Failure, "1 of 3 are sound");
    let store = format!("member 2 of 3: Redis at 127.0.0.1:{}", servers[1].port());
    assert!(failures(&findings).iter().any(|finding| finding.store == store), "{findings:#?}");
    until(async || servers[2].keys().await.iter().all(|key| key.contains("fence{"))).await;
}
