//! Holding a lock for as long as work takes.

use std::time::{Duration, Instant};

use locker_host::{
    ExtendOutcome, Guard, LockOptions, LockOutcome, Locker, LostReason, Memory, UnlockOutcome, WithOutcome,
};
use rstest::rstest;
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};

use crate::harness::{Backend, Flaky, LONG, RedisServer, SHORT, granted, held, until, waiting_options};

/// Short enough to see it renewed, long enough not to lose it on a machine that is busy.
const TTL: Duration = Duration::from_secs(1);

async fn hold(locker: &Locker, options: impl Into<LockOptions>) -> Guard {
    locker.hold("job", options).await.unwrap().granted().expect("the lock is free")
}

#[rstest]
#[tokio::test]
async fn a_held_lock_outlives_its_time_with_its_token_and_fence(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    let guard = hold(&store.locker, TTL).await;
    let before = guard.lease();
    sleep(TTL + TTL / 2).await;
    assert!(guard.is_held());
    let after = guard.lease();
    assert_eq!((after.token.as_str(), after.fence), (before.token.as_str(), before.fence));
    assert_eq!(store.entry("job").await.unwrap().value, before.token.as_str());
    held(store.another_host().lock("job", SHORT).await);
}

#[rstest]
#[tokio::test]
async fn a_lock_that_another_holds_is_not_held(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    let _guard = hold(&store.locker, LockOptions::from(LONG).owner("me")).await;
    let LockOutcome::Held(holder) = store.another_host().hold("job", LONG).await.unwrap() else {
        panic!("granted twice")
    };
    assert_eq!(holder.owner.as_deref(), Some("me"));
}

#[tokio::test]
async fn nothing_is_renewed_once_a_release_has_begun() {
    let store = Flaky::default();
    let guard = hold(&store.locker(), TTL).await;
    until(async || store.extensions() > 1).await;
    assert_eq!(guard.release().await.unwrap(), UnlockOutcome::Released);
    let before = store.extensions();
    sleep(TTL / 2).await;
    assert_eq!(store.extensions(), before);
}

#[rstest]
#[tokio::test]
async fn a_guard_that_is_dropped_releases_its_lock(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    let guard = hold(&store.locker, LONG).await;
    // Also where there is no runtime.
    std::thread::spawn(|| drop(guard)).join().unwrap();
    until(async || store.entry("job").await.is_none()).await;
}

#[tokio::test]
async fn a_release_that_fails_is_tried_again_in_the_background() {
    let mut server = RedisServer::start_with(|_| ["--appendonly", "yes"].map(str::to_owned).into()).await;
    let locker = server.locker();
    let guard = hold(&locker, LONG).await;
    server.kill();
    guard.release().await.unwrap_err();
    server.start_again().await;
    until(async || locker.inspect("job").await.is_ok_and(|holder| holder.is_none())).await;
}

#[rstest]
#[tokio::test]
async fn a_release_that_was_cancelled_is_done_all_the_same(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    for patience in (0..50).map(|n| Duration::from_micros(10 * n)) {
        let options = LockOptions::from(LONG).wait(LONG / 2);
        let guard = hold(&store.locker, options).await;
        _ = timeout(patience, guard.release()).await;
    }
    until(async || store.entry("job").await.is_none()).await;
}

#[rstest]
#[tokio::test]
async fn a_guard_can_leave_its_lock_to_expire(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    let guard = hold(&store.locker, LONG).await;
    let ExtendOutcome::Extended(_) = guard.release_after(TTL).await.unwrap() else { panic!("it was lost") };
    held(store.locker.lock("job", LONG).await);
    granted(store.locker.lock("job", LockOptions::from(LONG).wait(2 * TTL)).await);
}

#[rstest]
#[tokio::test]
async fn a_loss_is_noticed_at_the_next_renewal(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    let guard = hold(&store.locker, TTL).await;
    let token = guard.lease().token;
    assert_eq!(store.another_host().unlock("job", token).await.unwrap(), UnlockOutcome::Released);
    assert!(matches!(guard.lost().await, LostReason::Absent), "{guard:?}");
    assert!(!guard.is_held());
    assert_eq!(guard.release().await.unwrap(), UnlockOutcome::Absent);
}

#[rstest]
#[tokio::test]
async fn a_lock_that_another_took_over_is_lost_and_left_alone(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    let guard = hold(&store.locker, TTL).await;
    store.another_host().unlock("job", guard.lease().token).await.unwrap();
    let other = store.take("job", LONG).await;
    assert!(matches!(guard.lost().await, LostReason::HeldByOther), "{guard:?}");
    drop(guard);
    // The clean-up of the guard ends before this returns.
    store.locker.close().await;
    assert_eq!(store.entry("job").await.unwrap().value, other.token.as_str());
}

#[rstest]
#[case::overwritten(&["SET", "lock:job", "foreign"])]
#[case::flushed(&["FLUSHALL"])]
#[case::expired(&["PEXPIRE", "lock:job", "1"])]
#[tokio::test]
async fn a_lock_that_was_taken_away_is_lost(#[case] command: &[&str]) {
    let server = RedisServer::start().await;
    let guard = hold(&server.locker(), TTL).await;
    let _: redis::Value = server.run(command).await;
    assert!(matches!(guard.lost().await, LostReason::Absent | LostReason::HeldByOther), "{guard:?}");
}

#[tokio::test]
async fn a_lock_whose_store_is_away_is_lost_before_another_can_hold_it() {
    let store = Flaky::default();
    let (locker, other) = (store.locker(), store.locker());
    let guard = hold(&locker, TTL).await;
    store.fail(usize::MAX);
    let taken = async { (granted(other.lock("job", waiting_options()).await), Instant::now()) };
    let lost = async { (guard.lost().await, Instant::now()) };
    let ((_, taken), (loss, lost)) = tokio::join!(taken, lost);
    assert!(lost < taken);
    assert!(matches!(&loss, LostReason::Expired(Some(_))) && loss.to_string().contains("the store is away"), "{loss}");
}

#[tokio::test]
async fn a_server_that_is_killed_costs_the_lock_before_its_time_is_up() {
    let mut server = RedisServer::start().await;
    let guard = hold(&server.locker(), LockOptions::from(6 * TTL).expiry_margin(5 * TTL)).await;
    server.kill();
    assert!(matches!(guard.lost().await, LostReason::Expired(Some(_))));
    assert!(Instant::now() <= guard.lease().deadline);
}

#[tokio::test]
async fn a_failed_renewal_is_tried_again() {
    let store = Flaky::default();
    let guard = hold(&store.locker(), TTL).await;
    store.fail(3);
    until(async || store.extensions() > 3).await;
    sleep(TTL).await;
    assert!(guard.is_held(), "{guard:?}");
}

#[tokio::test]
async fn what_the_store_has_said_for_sure_is_not_asked_again() {
    let store = Flaky::default();
    let guard = hold(&store.locker(), TTL).await;
    store.locker().unlock("job", guard.lease().token).await.unwrap();
    guard.lost().await;
    let asked = store.extensions();
    sleep(TTL / 2).await;
    assert_eq!(store.extensions(), asked);
}

#[rstest]
#[tokio::test]
async fn a_maximum_hold_ends_the_renewal(#[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend) {
    let store = backend.start().await;
    let (started, most) = (Instant::now(), 2 * TTL);
    let guard = hold(&store.locker, LockOptions::from(TTL).max_hold(most)).await;
    assert!(matches!(guard.lost().await, LostReason::MaxHold), "{guard:?}");
    assert!(started.elapsed() > TTL, "it was renewed until then");
    assert!(store.entry("job").await.is_none_or(|entry| entry.ttl < Some(TTL / 2)), "and no longer");
}

#[tokio::test]
async fn a_maximum_hold_may_be_shorter_than_the_time_to_live() {
    let locker = Locker::new(Memory::default()).unwrap();
    let guard = hold(&locker, LockOptions::default().max_hold(SHORT)).await;
    assert!(matches!(guard.lost().await, LostReason::MaxHold));
}

#[tokio::test]
async fn grace_gives_work_time_to_stop() {
    let store = Flaky::default();
    let guard = hold(&store.locker(), LockOptions::from(6 * TTL).expiry_margin(5 * TTL)).await;
    store.fail(usize::MAX);
    guard.lost().await;
    let left = guard.lease().deadline.saturating_duration_since(Instant::now());
    assert!(left > TTL / 4, "{left:?}");
}

#[tokio::test]
async fn closing_the_host_ends_what_is_held() {
    let locker = Locker::new(Memory::default()).unwrap();
    let guard = hold(&locker, LONG).await;
    locker.close().await;
    assert!(matches!(guard.lost().await, LostReason::Closed));
}

#[tokio::test]
async fn work_elsewhere_is_told_of_a_loss_and_of_a_release() {
    let store = Flaky::default();
    let (locker, other) = (store.locker(), store.locker());
    let guard = hold(&locker, TTL).await;
    let lost = guard.cancellation_token();
    assert!(!lost.is_cancelled());
    other.unlock("job", guard.lease().token).await.unwrap();
    lost.cancelled().await;
    let guard = hold(&locker, LONG).await;
    let released = guard.cancellation_token();
    guard.release().await.unwrap();
    assert!(released.is_cancelled());
}

#[rstest]
#[tokio::test]
async fn no_task_is_left_behind(#[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend) {
    let store = backend.start().await;
    _ = store.locker.inspect("job").await;
    let before = Handle::current().metrics().num_alive_tasks();
    let guard = hold(&store.locker, LONG).await;
    assert!(Handle::current().metrics().num_alive_tasks() > before);
    guard.release().await.unwrap();
    drop(hold(&store.locker, LONG).await);
    until(async || Handle::current().metrics().num_alive_tasks() == before).await;
}

#[rstest]
#[tokio::test]
async fn work_runs_with_the_lock_and_the_lock_is_free_after_it(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    let ran = store.locker.with("job", LONG, async |lease| (lease.fence, store.entry("job").await)).await;
    let WithOutcome::Done((fence, Some(entry))) = ran.unwrap() else { panic!("it was not held") };
    assert_eq!(fence, entry.revision);
    assert_eq!(store.entry("job").await, None);
}

#[tokio::test]
async fn work_is_not_begun_without_the_lock() {
    let locker = Locker::new(Memory::default()).unwrap();
    granted(locker.lock("job", LockOptions::from(LONG).owner("me")).await);
    let ran = locker.with("job", LONG, async |_| panic!("it was begun")).await.unwrap();
    assert!(matches!(ran, WithOutcome::Held(holder) if holder.owner.as_deref() == Some("me")));
}

#[tokio::test]
async fn work_is_cancelled_when_the_lock_is_lost() {
    let store = Flaky::default();
    let (locker, other) = (store.locker(), store.locker());
    let work = async |lease: locker_host::Lease| {
        other.unlock("job", lease.token).await.unwrap();
        std::future::pending::<()>().await;
    };
    let ran = timeout(LONG / 2, locker.with("job", TTL, work)).await.expect("the work is cancelled");
    assert!(matches!(ran.unwrap(), WithOutcome::Lost { reason: LostReason::Absent, done: None }));
}

#[tokio::test]
async fn work_that_was_done_without_the_lock_is_told_from_work_that_was_not() {
    let store = Flaky::default();
    let (locker, other) = (store.locker(), store.locker());
    let work = async |lease: locker_host::Lease| other.unlock("job", lease.token).await.is_ok();
    let ran = locker.with("job", LONG, work).await.unwrap();
    assert!(matches!(ran, WithOutcome::Lost { reason: LostReason::Absent, done: Some(true) }), "{ran:?}");
}
