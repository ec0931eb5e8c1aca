//! Taking a lock from its holder.

use std::sync::Arc;
use std::time::Duration;

use locker_host::{ErrorKind, LockOptions, Locker, LostReason, Memory, Quorum, QuorumMember, UnlockOutcome};
use rstest::rstest;
use tokio::time::timeout;

use crate::harness::{Backend, Distant, Fault, LONG, Proxy, RedisServer, SHORT, granted, until, waiting_options};

/// So long that no renewal is due in a test.
const HOUR: Duration = Duration::from_secs(60 * 60);

#[rstest]
#[tokio::test]
async fn a_lock_that_is_revoked_is_free(#[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend) {
    let store = backend.start().await;
    let lease = store.take("job", LONG).await;
    assert_eq!(store.another_host().revoke("job", None).await.unwrap(), UnlockOutcome::Released);
    assert_eq!(store.locker.revoke("job", None).await.unwrap(), UnlockOutcome::Absent);
    assert_eq!(store.locker.unlock("job", &lease.token).await.unwrap(), UnlockOutcome::Absent);
    assert!(store.take("job", LONG).await.fence > lease.fence);
}

#[rstest]
#[tokio::test]
async fn the_next_waiter_gets_it(#[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend) {
    let store = backend.start().await;
    store.take("job", LONG).await;
    let first = store.waiter(&store.locker, "job", waiting_options().owner("first")).await;
    let _second = store.waiter(&store.locker, "job", waiting_options()).await;
    store.another_host().revoke("job", None).await.unwrap();
    granted(first.await.unwrap());
    assert_eq!(store.locker.inspect("job").await.unwrap().unwrap().owner.as_deref(), Some("first"));
}

#[rstest]
#[tokio::test]
async fn only_the_holder_with_the_fence_loses_it(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    let old = store.take("job", LONG).await;
    assert_eq!(store.locker.revoke("job", Some(old.fence)).await.unwrap(), UnlockOutcome::Released);
    let lease = store.take("job", LONG).await;
    assert_eq!(store.locker.revoke("job", Some(old.fence)).await.unwrap(), UnlockOutcome::HeldByOther);
    assert_eq!(store.entry("job").await.unwrap().value, lease.token.as_str());
}

#[tokio::test]
async fn no_member_of_a_quorum_restores_a_lock_that_is_revoked() {
    let members: Vec<Arc<Memory>> = (0..3).map(|_| Arc::default()).collect();
    let quorum = members.iter().map(|member| member.clone() as Arc<dyn QuorumMember>).collect();
    let locker = Locker::new(Quorum::new(quorum).unwrap()).unwrap();
    let lease = locker.lock("job", LONG).await.unwrap().granted().unwrap();
    assert_eq!(locker.revoke("job", None).await.unwrap(), UnlockOutcome::Released);
    locker.close().await;
    for member in members {
        // As a renewal does that began before.
        assert!(member.restore("job", lease.token.as_str(), LONG, lease.fence).await.is_err());
    }
}

#[tokio::test]
async fn no_member_of_a_quorum_stores_a_record_after_its_withdrawal() {
    let server = RedisServer::start().await;
    let members: [Box<dyn QuorumMember>; 2] = [Box::<Memory>::default(), Box::new(server.redis())];
    for member in members {
        member.try_set("job", "token", Some(LONG)).await.unwrap();
        member.withdraw("job", "token!1").await.unwrap();
        assert!(member.replace_vote("job", "token", "token!1", LONG).await.is_err());
        assert_eq!(member.get("job").await.unwrap().unwrap().value, "token");
    }
}

#[rstest]
#[tokio::test]
async fn completed_work_can_be_done_again(#[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend) {
    let store = backend.start().await;
    let lease = store.take("job", LockOptions::from(LONG)).await;
    store.locker.complete("job", &lease.token, LONG).await.unwrap();
    assert_eq!(store.locker.revoke("job", Some(lease.fence)).await.unwrap(), UnlockOutcome::Released);
    store.take("job", LONG).await;
}

#[rstest]
#[tokio::test]
async fn the_guard_of_the_holder_is_told_long_before_its_next_renewal(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    let guard = store.locker.hold("job", HOUR).await.unwrap().granted().unwrap();
    let other = store.locker.hold("other", HOUR).await.unwrap().granted().unwrap();
    store.another_host().revoke("job", Some(guard.fence())).await.unwrap();
    timeout(LONG, guard.lost()).await.expect("it is told");
    assert!(other.is_held());
}

#[rstest]
#[tokio::test]
async fn a_guard_that_listens_learns_that_its_lock_was_revoked(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    let guard = store.locker.hold("job", HOUR).await.unwrap().granted().unwrap();
    // The renewal after it has begun to listen.
    guard.renewed(&guard.lease()).await;
    store.another_host().revoke("job", None).await.unwrap();
    assert!(matches!(timeout(LONG, guard.lost()).await, Ok(LostReason::Revoked)), "{guard:?}");
}

#[tokio::test]
async fn a_guard_of_a_quorum_is_told_though_a_member_is_away() {
    let members = [0, 1, 2].map(|_| Distant::new(Memory::default(), Duration::ZERO..Duration::from_millis(1)));
    members[2].hang();
    let quorum = Quorum::new(members.map(|member| member as Arc<dyn QuorumMember>).into()).unwrap();
    let (holder, other) = (Locker::new(quorum.clone()).unwrap(), Locker::new(quorum).unwrap());
    let guard = holder.hold("job", HOUR).await.unwrap().granted().unwrap();
    assert_eq!(other.revoke("job", None).await.unwrap(), UnlockOutcome::Released);
    timeout(LONG, guard.lost()).await.expect("it is told");
}

#[tokio::test]
async fn a_guard_is_told_of_what_was_revoked_while_its_connection_was_cut() {
    let server = RedisServer::start().await;
    let guard = server.locker().hold("job", HOUR).await.unwrap().granted().unwrap();
    guard.renewed(&guard.lease()).await;
    () = server.run(&["DEL", "lock:job"]).await;
    let _: u64 = server.run(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    timeout(LONG, guard.lost()).await.expect("it asks when it listens again");
}

#[tokio::test]
async fn a_guard_is_told_of_a_revocation_that_came_before_the_answer_to_its_subscription() {
    let server = RedisServer::start().await;
    let proxy = Proxy::start(&server).await;
    let locker = Locker::new(proxy.redis()).unwrap();
    let late = Fault::Delay("revoked", SHORT);
    proxy.next(late);
    let other = locker.hold("other", HOUR).await.unwrap().granted().unwrap();
    until(async || proxy.has_failed()).await;
    // The server has subscribed this process when the next guard asks again.
    other.release().await.unwrap();
    proxy.next(late);
    let guard = locker.hold("job", HOUR).await.unwrap().granted().unwrap();
    until(async || proxy.has_failed()).await;
    server.locker().revoke("job", None).await.unwrap();
    timeout(LONG, guard.lost()).await.expect("it is told");
}

#[tokio::test]
async fn a_foreign_value_is_not_deleted() {
    let server = RedisServer::start().await;
    () = server.run(&["SET", "lock:job", "foreign"]).await;
    assert_eq!(server.locker().revoke("job", None).await.unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(server.run::<String>(&["GET", "lock:job"]).await, "foreign");
}
