//! A quorum of independent servers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use locker_host::cache::{Vote, VoteOutcome};
use locker_host::{
    Cache, ErrorKind, ExtendOutcome, Lease, LockOptions, Locker, Memory, Quorum, QuorumMember, Redis, Token,
    UnlockOutcome,
};
use nix::sys::signal::{Signal, kill};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::harness::{Command, LONG, RedisServer, SHORT, extended, granted, held, key_of, until, waiting_options};

async fn three() -> [RedisServer; 3] {
    [RedisServer::start().await, RedisServer::start().await, RedisServer::start().await]
}

fn over(servers: &[RedisServer]) -> Locker {
    let member = |server: &RedisServer| Arc::new(Redis::open(&server.url()).unwrap()) as Arc<dyn QuorumMember>;
    Locker::new(Quorum::new(servers.iter().map(member).collect()).unwrap()).unwrap()
}

/// Waits until the last member has the lock `job`, too: a grant does not wait for it.
async fn all_have(servers: &[RedisServer]) {
    until(async || have(servers, "lock:job").await == servers.len() as u64).await;
}

/// The lock `job`, which the first member lost and an extension restored there.
async fn restored(servers: &[RedisServer], locker: &Locker) -> Lease {
    let lease = granted(locker.lock("job", LONG).await);
    all_have(servers).await;
    () = servers[0].run(&["FLUSHALL"]).await;
    extended(locker.extend("job", &lease.token, LONG).await);
    all_have(servers).await;
    lease
}

async fn have(servers: &[RedisServer], key: &str) -> u64 {
    let mut have = 0;
    for server in servers {
        have += server.run::<u64>(&["EXISTS", key]).await;
    }
    have
}

#[tokio::test]
async fn a_lock_lies_on_all_servers_until_it_is_released() {
    let servers = three().await;
    let (locker, other) = (over(&servers), over(&servers));
    let lease = granted(locker.lock("job", LockOptions::from(LONG).owner("me")).await);
    all_have(&servers).await;
    let holder = held(other.lock("job", LONG).await);
    assert_eq!((holder.owner.as_deref(), holder.fence), (Some("me"), lease.fence));
    assert_eq!(other.inspect("job").await.unwrap().unwrap().fence, lease.fence);
    assert_eq!(other.unlock("job", "wrong").await.unwrap(), UnlockOutcome::HeldByOther);
    assert_eq!(other.unlock("job", &lease.token).await.unwrap(), UnlockOutcome::Released);
    assert_eq!(other.unlock("job", &lease.token).await.unwrap(), UnlockOutcome::Absent);
    until(async || have(&servers, "lock:job").await == 0).await;
}

#[tokio::test]
async fn one_server_may_be_down_and_two_may_not() {
    let mut servers = three().await;
    let locker = over(&servers);
    servers[0].kill();
    let lease = granted(locker.lock("one", LONG).await);
    assert_eq!(extended(locker.extend("one", &lease.token, LONG).await).fence, lease.fence);
    assert_eq!(locker.unlock("one", &lease.token).await.unwrap(), UnlockOutcome::Released);
    servers[1].kill();
    let error = locker.lock("two", LONG).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("2 of 3 caches failed, and a majority is needed"), "{error}");
    assert_eq!(have(&servers[2..], "lock:two").await, 0, "nothing is left behind");
}

#[tokio::test]
async fn a_server_that_hangs_stops_nobody() {
    let servers = three().await;
    let locker = over(&servers);
    granted(locker.lock("warm", LONG).await);
    kill(servers[0].pid(), Signal::SIGSTOP).unwrap();
    let outcome = locker.lock("job", LONG).await;
    kill(servers[0].pid(), Signal::SIGCONT).unwrap();
    let lease = granted(outcome);
    locker.unlock("job", &lease.token).await.unwrap();
    until(async || have(&servers, "lock:job").await == 0).await;
}

#[tokio::test]
async fn what_a_release_could_not_reach_is_released_when_it_is_back() {
    let servers = three().await;
    let locker = over(&servers);
    let lease = granted(locker.lock("job", LONG).await);
    kill(servers[0].pid(), Signal::SIGSTOP).unwrap();
    let outcome = locker.unlock("job", &lease.token).await;
    kill(servers[0].pid(), Signal::SIGCONT).unwrap();
    assert_eq!(outcome.unwrap(), UnlockOutcome::Released);
    until(async || have(&servers, "lock:job").await == 0).await;
}

#[tokio::test]
async fn the_votes_of_callers_that_died_are_no_holder_and_nothing_is_left_behind() {
    let servers = three().await;
    for (server, value) in servers.iter().zip(["one", "two"]) {
        () = server.run(&["SET", "lock:job", value, "PX", "60000"]).await;
    }
    let error = over(&servers).lock("job", LONG).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("no caller had a majority of the 3 caches"), "{error}");
    assert_eq!(have(&servers[2..], "lock:job").await, 0);
}

const TOKEN: &str = "5f3a9c1e7b2d4806f1e2d3c4b5a69788";

/// Votes for the token, as a call of its own.
async fn vote(member: &dyn QuorumMember, revision: u64) -> u64 {
    let vote = Vote { value: TOKEN, ttl: LONG, revision, since: revision };
    let VoteOutcome::Stored(stored) = member.vote("job", vote).await.unwrap() else { panic!("it is not stored") };
    stored.revision
}

#[tokio::test]
async fn a_late_withdrawal_leaves_a_vote_that_a_repeated_call_found() {
    let server = RedisServer::start().await;
    let members: [Box<dyn QuorumMember>; 2] = [Box::<Memory>::default(), Box::new(server.redis())];
    for member in members {
        assert_eq!((vote(&*member, 10).await, vote(&*member, 20).await), (10, 10));
        member.withdraw_vote("job", TOKEN, 10..=10).await.unwrap();
        assert_eq!(member.get("job").await.unwrap().unwrap().revision, 10);
        member.withdraw_vote("job", TOKEN, 10..=20).await.unwrap();
        assert!(member.get("job").await.unwrap().is_none());
    }
}

#[tokio::test]
async fn a_repeated_call_is_granted_the_lock_although_votes_of_earlier_calls_differ() {
    let members: [Arc<Memory>; 3] = Default::default();
    for (member, revision) in members.iter().zip([10, 20]) {
        assert_eq!(vote(&**member, revision).await, revision);
    }
    let quorum = Quorum::new(members.into_iter().map(|member| member as Arc<dyn QuorumMember>).collect()).unwrap();
    let options = LockOptions::from(LONG).token(Token::from(TOKEN.to_owned()));
    granted(Locker::new(quorum).unwrap().lock("job", options).await);
}

#[tokio::test]
async fn a_repeated_call_withdraws_the_late_votes_of_others() {
    let members: [Arc<Memory>; 3] = Default::default();
    let quorum = Quorum::new(members.iter().map(|member| member.clone() as Arc<dyn QuorumMember>).collect()).unwrap();
    let (locker, token) = (Locker::new(quorum).unwrap(), Token::from(TOKEN.to_owned()));
    let options = LockOptions::from(LONG).token(token.clone());
    let lease = granted(locker.lock("job", options.clone()).await);
    until(async || members[0].get("job").await.unwrap().is_some()).await;
    members[0].withdraw_vote("job", token.as_str(), lease.fence..=lease.fence).await.unwrap();
    assert_eq!(vote(&*members[0], lease.fence + 1).await, lease.fence + 1);
    assert_eq!(locker.inspect("job").await.unwrap().unwrap().fence, lease.fence);
    assert_eq!(granted(locker.lock("job", options).await).fence, lease.fence);
    until(async || members[0].get("job").await.unwrap().is_none_or(|entry| entry.revision == lease.fence)).await;
}

#[tokio::test]
async fn a_minoritys_leftover_is_no_lock() {
    let servers = three().await;
    () = servers[0].run(&["SET", "lock:job", "leftover", "PX", "60000"]).await;
    let locker = over(&servers);
    assert_eq!(locker.inspect("job").await.unwrap(), None);
    let lease = granted(locker.lock("job", LONG).await);
    assert_eq!(locker.unlock("job", &lease.token).await.unwrap(), UnlockOutcome::Released);
    assert_eq!(servers[0].run::<String>(&["GET", "lock:job"]).await, "leftover");
}

#[tokio::test]
async fn a_lock_that_a_majority_lost_is_not_extended_and_not_created() {
    let servers = three().await;
    let locker = over(&servers);
    let lease = granted(locker.lock("job", LONG).await);
    all_have(&servers).await;
    let _: u64 = servers[0].run(&["DEL", "lock:job"]).await;
    let _: u64 = servers[1].run(&["DEL", "lock:job"]).await;
    assert_eq!(locker.extend("job", &lease.token, LONG).await.unwrap(), ExtendOutcome::Absent);
    until(async || have(&servers, "lock:job").await == 0).await;
}

#[tokio::test]
async fn a_restoration_shortens_no_lease() {
    let server = RedisServer::start().await;
    let members: [Box<dyn QuorumMember>; 2] = [Box::<Memory>::default(), Box::new(server.redis())];
    for member in members {
        member.restore("job", "token", LONG, 7).await.unwrap();
        member.restore("job", "token", SHORT, 8).await.unwrap();
        let entry = member.get("job").await.unwrap().unwrap();
        assert!(entry.revision == 8 && entry.ttl > Some(SHORT), "{entry:?}");
    }
}

#[tokio::test]
async fn an_extension_restores_the_lock_with_its_fence_where_it_was_lost() {
    let servers = three().await;
    let locker = over(&servers);
    let lease = restored(&servers, &locker).await;
    let restored: String = servers[0].run(&["GET", "lock:job"]).await;
    assert_eq!(restored, format!("{}\u{1f}{}", lease.token.as_str(), lease.fence));
}

#[tokio::test]
async fn a_lock_that_was_restored_once_is_not_restored_again_after_its_release() {
    let servers = three().await;
    let locker = over(&servers);
    let lease = restored(&servers, &locker).await;
    assert_eq!(locker.unlock("job", &lease.token).await.unwrap(), UnlockOutcome::Released);
    locker.close().await;
    // As a second restoration does that arrives late.
    let member = Redis::open(&servers[0].url()).unwrap();
    assert!(member.restore("job", lease.token.as_str(), LONG, lease.fence).await.is_err());
}

#[tokio::test]
async fn fences_rise_though_the_server_that_was_ahead_is_gone() {
    let mut servers = three().await;
    let ahead = "8000000000000000";
    () = servers[0].run(&["SET", &key_of("fence", "job"), ahead]).await;
    let locker = over(&servers);
    let first = granted(locker.lock("job", LONG).await);
    locker.unlock("job", &first.token).await.unwrap();
    // The member that was ahead has told so by now.
    let second = granted(locker.lock("job", LONG).await);
    assert!(second.fence > first.fence);
    locker.unlock("job", &second.token).await.unwrap();
    servers[0].kill();
    let third = granted(locker.lock("job", LONG).await);
    assert!(third.fence > second.fence);
}

#[tokio::test]
async fn a_lease_ends_before_the_first_server_lets_go() {
    let servers = three().await;
    let lease = granted(over(&servers).lock("job", LONG).await);
    all_have(&servers).await;
    for server in &servers {
        let left: u64 = server.run(&["PTTL", "lock:job"]).await;
        assert!(lease.deadline < std::time::Instant::now() + std::time::Duration::from_millis(left));
    }
}

#[tokio::test]
async fn a_waiter_is_woken_by_a_release() {
    let servers = three().await;
    let (locker, other) = (over(&servers), over(&servers));
    let lease = granted(locker.lock("job", LONG).await);
    all_have(&servers).await;
    let waiter = tokio::spawn(async move { other.lock("job", waiting_options()).await });
    // It watches all members.
    for server in &servers {
        until(async || server.queued("job").await == 1).await;
    }
    let released = std::time::Instant::now();
    locker.unlock("job", &lease.token).await.unwrap();
    granted(waiter.await.unwrap());
    assert!(released.elapsed() < LONG / 2, "it slept until the expiry");
}

#[tokio::test]
async fn a_waiter_waits_no_longer_than_it_would() {
    let servers = three().await;
    let (locker, other) = (over(&servers), over(&servers));
    granted(locker.lock("job", LONG).await);
    held(other.lock("job", LockOptions::from(LONG).wait(SHORT)).await);
}

#[tokio::test]
async fn unprotected_increments_of_two_hosts_are_never_lost() {
    let servers = three().await;
    let (counter, hosts) = (Arc::new(AtomicU64::new(0)), [over(&servers), over(&servers)]);
    let mut workers = JoinSet::new();
    for worker in 0..8 {
        let (locker, counter) = (hosts[worker % 2].clone(), counter.clone());
        workers.spawn(async move {
            for _ in 0..10 {
                let lease = granted(locker.lock("job", waiting_options()).await);
                let seen = counter.load(Ordering::Relaxed);
                tokio::task::yield_now().await;
                counter.store(seen + 1, Ordering::Relaxed);
                locker.unlock("job", &lease.token).await.unwrap();
            }
        });
    }
    workers.join_all().await;
    assert_eq!(counter.load(Ordering::Relaxed), 80);
}

#[tokio::test]
async fn three_memories_are_a_quorum_too() {
    let members = (0..3).map(|_| Arc::new(Memory::default()) as Arc<dyn QuorumMember>).collect();
    let locker = Locker::new(Quorum::new(members).unwrap()).unwrap();
    let lease = granted(locker.lock("job", LONG).await);
    held(locker.lock("job", LONG).await);
    assert_eq!(locker.unlock("job", &lease.token).await.unwrap(), UnlockOutcome::Released);
    assert!(granted(locker.lock("job", LONG).await).fence > lease.fence);
}

#[tokio::test]
async fn the_command_makes_a_quorum_of_several_urls() {
    let servers = three().await;
    let urls = |servers: &[RedisServer]| servers.iter().map(RedisServer::url).collect::<Vec<_>>().join(",");
    let locked = Command::new(&["lock", "job"]).env("LOCKER_CACHE", &urls(&servers)).run().await;
    assert_eq!(locked.code, Some(0));
    all_have(&servers).await;
    let refused = Command::new(&["lock", "job"]).env("LOCKER_CACHE", &urls(&servers[1..])).run().await;
    assert_eq!(refused.code, Some(78));
    assert!(refused.stderr.contains("a quorum is made of 3, 5, 7... caches, not of 2"), "{refused:?}");
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
