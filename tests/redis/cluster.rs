//! A Redis cluster.

use std::time::{Duration, Instant};

use locker_host::{ErrorKind, LockOptions, Locker, Redis, UnlockOutcome};
use nix::sys::signal::{Signal, kill};

use crate::harness::{Cluster, Command, LONG, extended, granted, held, until, waiting_options};

#[tokio::test]
async fn locks_work_in_every_slot() {
    let cluster = Cluster::start().await;
    let (locker, other) = (cluster.locker(), cluster.locker());
    for name in ["a", "b", "c", "d", "{tag}x", "a}b", "{}"] {
        let lease = granted(locker.lock(name, LockOptions::from(LONG).owner("me")).await);
        assert_eq!(held(other.lock(name, LONG).await).owner.as_deref(), Some("me"));
        assert_eq!(extended(other.extend(name, &lease.token, LONG).await).fence, lease.fence);
        assert_eq!(other.unlock(name, &lease.token).await.unwrap(), UnlockOutcome::Released);
        assert_eq!(locker.inspect(name).await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_lock_is_handed_over_on_any_node() {
    let cluster = Cluster::start().await;
    let holder = cluster.locker();
    for name in ["a", "b", "c"] {
        let lease = granted(holder.lock(name, LONG).await);
        let other = cluster.locker();
        let waiter = tokio::spawn(async move { other.lock(name, waiting_options()).await });
        until(async || {
            let mut queues = 0;
            for node in &cluster.nodes[..3] {
                queues += node.keys().await.iter().filter(|key| key.contains("\u{1f}queue{")).count();
            }
            queues == 1
        })
        .await;
        holder.unlock(name, &lease.token).await.unwrap();
        // It is not free meanwhile: where the waiter listens, the lock's own node knows of it.
        held(holder.lock(name, LONG).await);
        granted(waiter.await.unwrap());
    }
}

#[tokio::test]
async fn fences_rise_through_a_failover() {
    let mut cluster = Cluster::start_lopsided().await;
    let (locker, name) = (cluster.locker(), "job");
    let before = granted(locker.lock(name, LONG).await);
    locker.unlock(name, &before.token).await.unwrap();
    // It reached the replica too, or else the new primary's clock will do.
    assert_eq!(cluster.nodes[0].run::<u64>(&["DBSIZE"]).await, 1, "the fence");
    cluster.nodes[0].kill();
    let mut after = None;
    until(async || {
        after = locker.lock(name, LONG).await.ok();
        after.is_some()
    })
    .await;
    assert!(after.unwrap().granted().unwrap().fence > before.fence);
}

#[tokio::test]
async fn a_lock_goes_to_one_alone_after_a_planned_failover() {
    let cluster = Cluster::start_lopsided().await;
    let (holder, old, new) = (cluster.locker(), &cluster.nodes[0], &cluster.nodes[3]);
    let lease = granted(holder.lock("job", LONG).await);
    let waiter = old.waiter(cluster.locker(), waiting_options()).await;
    () = new.run(&["CLUSTER", "FAILOVER"]).await;
    old.replicates("master_link_status:up").await;
    // The waiter still listens to the old primary, which passes on what the new one publishes.
    holder.unlock("job", &lease.token).await.unwrap();
    let lease = granted(waiter.await.unwrap());
    assert_eq!(new.stored("job").await.unwrap().0, lease.token.as_str());
}

#[tokio::test]
async fn a_lock_whose_slot_moves_to_another_node_goes_to_one_alone() {
    let cluster = Cluster::start_lopsided().await;
    let holder = cluster.locker();
    let lease = granted(holder.lock("job", LONG).await);
    let waiter = cluster.nodes[0].waiter(cluster.locker(), waiting_options()).await;
    cluster.move_slot_of("lock:job", 0, 1).await;
    held(cluster.locker().lock("job", LONG).await);
    holder.unlock("job", &lease.token).await.unwrap();
    let lease = granted(waiter.await.unwrap());
    assert_eq!(cluster.nodes[1].stored("job").await.unwrap().0, lease.token.as_str());
}

#[tokio::test]
async fn a_slot_that_is_about_to_move_stops_no_renewal_and_is_no_misconfiguration() {
    let cluster = Cluster::start_lopsided().await;
    let locker = cluster.locker();
    let lease = granted(locker.lock("job", LONG).await);
    cluster.begin_to_move_slot_of("lock:job", 0, 1).await;
    assert_eq!(extended(locker.extend("job", &lease.token, LONG).await).fence, lease.fence);
    let error = locker.unlock("job", &lease.token).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("moves this lock's slot to another node"), "{error}");
    cluster.move_slot_of("lock:job", 0, 1).await;
    assert_eq!(locker.unlock("job", &lease.token).await.unwrap(), UnlockOutcome::Released);
}

#[tokio::test]
async fn a_node_that_hangs_stops_no_renewal_on_the_others() {
    let cluster = Cluster::start().await;
    for node in &cluster.nodes {
        () = node.run(&["CONFIG", "SET", "cluster-require-full-coverage", "no"]).await;
    }
    let redis = Redis::open(&cluster.url()).unwrap().timeout(Duration::from_secs(1));
    let (locker, ttl) = (Locker::new(redis).unwrap(), Duration::from_secs(6));
    // By their slots, this lock is on the first node, and the other one on the last.
    let guard = locker.hold("job", ttl).await.unwrap().granted().unwrap();
    kill(cluster.nodes[2].pid(), Signal::SIGSTOP).unwrap();
    let granted_until = guard.lease().deadline;
    while Instant::now() < granted_until {
        assert_eq!(locker.lock("c", ttl).await.unwrap_err().kind(), ErrorKind::Unavailable);
    }
    assert!(guard.is_held(), "{}", guard.lost().await);
}

#[tokio::test]
async fn a_plain_url_to_a_cluster_is_told_to_be_one() {
    let cluster = Cluster::start().await;
    let mut told = Vec::new();
    for name in ["a", "b", "c"] {
        told.extend(cluster.nodes[0].locker().lock(name, LONG).await.err());
    }
    assert!(!told.is_empty());
    for error in told {
        assert_eq!(error.kind(), ErrorKind::Denied);
        assert!(error.to_string().contains("redis+cluster://"), "{error}");
    }
}

#[tokio::test]
async fn the_command_takes_a_clusters_url() {
    let cluster = Cluster::start().await;
    let ran = Command::new(&["exec", "job", "--", "echo", "done"]).env("LOCKER_CACHE", &cluster.url()).run().await;
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "done\n"), "{ran:?}");
}
