//! The queue for a lock: first come, first served, for all callers of a store.

use std::sync::Arc;
use std::time::Duration;

use locker_host::cache::SetOutcome;

use locker_host::{Cache, Lease, LockOptions, LockerCtx, Scope, UnlockOutcome};
use rstest::rstest;
use tokio::task::JoinHandle;

use crate::harness::{Backend, Embedded, LONG, LinkMode, SHORT, Store, expiry, granted, held, until, waiting_options};

const LOCK: &str = "plugin/job";

/// What frees a lock.
#[derive(Clone, Copy, Debug)]
enum Freed {
    Released,
    Expired,
    Deleted,
    Withdrawn,
}

impl Freed {
    /// Frees the lock now, or soon.
    async fn free(self, store: &Store, lease: &Lease) {
        let token = lease.token.as_str();
        match self {
            Self::Released => assert_eq!(store.locker.unlock(LOCK, token).await.unwrap(), UnlockOutcome::Released),
            Self::Expired => _ = store.locker.extend(LOCK, token, SHORT).await.unwrap(),
            Self::Deleted => _ = store.cache().delete_if_equal(LOCK, token).await.unwrap(),
            Self::Withdrawn => store.cache().withdraw(LOCK, token).await.unwrap(),
        }
    }
}

/// Cancels a call.
async fn gone<T>(call: JoinHandle<T>) {
    call.abort();
    assert!(call.await.is_err_and(|error| error.is_cancelled()));
}

#[rstest]
#[tokio::test]
async fn callers_of_all_hosts_are_served_first_come_first_served_whatever_freed_the_lock(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
    #[values(Freed::Released, Freed::Expired, Freed::Deleted, Freed::Withdrawn)] freed: Freed,
) {
    let store = backend.start().await;
    let hosts = [store.locker.clone(), store.another_host(), store.another_host()];
    let mut last = store.take(LOCK, LONG).await;
    let mut waiters = Vec::new();
    for number in 0..5 {
        waiters.push(store.waiter(&hosts[number % hosts.len()], LOCK, waiting_options()).await);
    }
    for waiter in waiters {
        freed.free(&store, &last).await;
        let lease = granted(waiter.await.unwrap());
        assert!(lease.fence > last.fence, "{} after {}", lease.fence, last.fence);
        last = lease;
    }
}

#[rstest]
#[tokio::test]
async fn a_call_without_a_wait_does_not_overtake(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
    #[values(Freed::Released, Freed::Expired, Freed::Withdrawn)] freed: Freed,
) {
    let store = backend.start().await;
    let lease = store.take(LOCK, LONG).await;
    let waiter = store.waiter(&store.another_host(), LOCK, waiting_options()).await;
    freed.free(&store, &lease).await;
    if let Freed::Expired = freed {
        expiry().await;
    }
    let holder = held(store.locker.lock(LOCK, LONG).await);
    assert_eq!(holder.fence, granted(waiter.await.unwrap()).fence);
}

#[rstest]
#[tokio::test]
async fn a_lock_whose_callers_all_went_away_is_granted_at_once(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    let lease = store.take(LOCK, LONG).await;
    let mut waiters = Vec::new();
    for _ in 0..3 {
        waiters.push(store.waiter(&store.another_host(), LOCK, waiting_options()).await);
    }
    for waiter in waiters {
        gone(waiter).await;
    }
    store.locker.unlock(LOCK, &lease.token).await.unwrap();
    until(async || store.queued(LOCK).await == 0).await;
    store.take(LOCK, waiting_options()).await;
}

#[rstest]
#[tokio::test]
async fn a_release_is_answered_when_the_next_caller_has_the_lock(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    let lease = store.take(LOCK, LONG).await;
    let waiter = store.waiter(&store.another_host(), LOCK, waiting_options()).await;
    assert_eq!(store.locker.unlock(LOCK, &lease.token).await.unwrap(), UnlockOutcome::Released);
    let stored = store.entry(LOCK).await.expect("the lock is not free");
    let next = granted(waiter.await.unwrap());
    assert_eq!((stored.value.as_str(), stored.revision), (next.token.as_str(), next.fence));
}

#[rstest]
#[tokio::test]
async fn a_repeated_request_keeps_its_position_and_its_revision(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    let lease = store.take(LOCK, LONG).await;
    let request = |value: &'static str, ttl: Duration| {
        let cache = store.cache();
        async move { cache.set_if_absent(LOCK, value, Some(ttl), LONG).await.unwrap() }
    };
    let first = store.queue(LOCK, request("first", LONG)).await;
    let second = store.queue(LOCK, request("second", LONG)).await;
    // From another host, as after a lost connection.
    let again = tokio::spawn(request("first", SHORT));
    store.locker.unlock(LOCK, &lease.token).await.unwrap();
    let SetOutcome::Stored(stored) = first.await.unwrap() else { panic!("the second was first") };
    let repeated = [again.await.unwrap(), request("first", SHORT).await];
    assert!(
        repeated.iter().all(|outcome| matches!(outcome, SetOutcome::Stored(same) if same.revision == stored.revision))
    );
    assert!(store.left(LOCK).await > LONG / 2, "a repeated request keeps its time to live");
    store.cache().delete_if_equal(LOCK, "first").await.unwrap();
    assert!(matches!(second.await.unwrap(), SetOutcome::Stored(later) if later.revision > stored.revision));
}

#[rstest]
#[tokio::test]
async fn a_withdrawn_value_is_neither_queued_nor_stored(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    let lease = store.take(LOCK, LONG).await;
    let cache = Arc::<dyn Cache>::from(store.cache());
    let of_caller = cache.clone();
    let call = store.queue(LOCK, async move { of_caller.set_if_absent(LOCK, "value", None, LONG).await }).await;
    gone(call).await;
    for _ in 0..2 {
        cache.withdraw(LOCK, "value").await.unwrap();
    }
    assert_eq!(store.queued(LOCK).await, 0);
    store.locker.unlock(LOCK, &lease.token).await.unwrap();
    assert_eq!(store.entry(LOCK).await, None);
}

#[rstest]
#[tokio::test]
async fn a_caller_that_goes_away_during_a_hand_off_holds_nothing(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    for pause in (0..40).map(|n| Duration::from_micros(25 * n)) {
        let lease = store.take(LOCK, waiting_options()).await;
        let waiter = store.waiter(&store.another_host(), LOCK, waiting_options()).await;
        let leaving = async {
            tokio::time::sleep(pause).await;
            waiter.abort();
            waiter.await
        };
        let (released, left) = tokio::join!(store.locker.unlock(LOCK, &lease.token), leaving);
        assert_eq!(released.unwrap(), UnlockOutcome::Released);
        if let Ok(outcome) = left {
            // It was served before it could go.
            store.locker.unlock(LOCK, granted(outcome).token).await.unwrap();
        }
    }
    store.take(LOCK, waiting_options()).await;
    assert_eq!(store.queued(LOCK).await, 0);
}

#[rstest]
#[tokio::test]
async fn a_caller_whose_wait_is_over_has_left_the_queue(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    store.take(LOCK, LONG).await;
    held(store.locker.lock(LOCK, LockOptions::from(LONG).wait(SHORT)).await);
    assert_eq!(store.queued(LOCK).await, 0);
}

/// What a plugin is told that is to wait for the lock.
fn to_wait(link_mode: LinkMode) -> &'static [&'static str] {
    match link_mode {
        LinkMode::Locker | LinkMode::Cache => &["lock", "job", "60000", "60000"],
        LinkMode::Force => &["set", "job", "value", "60000", "60000"],
    }
}

#[rstest]
#[tokio::test]
async fn a_plugin_that_imports_the_cache_queues_like_all_other_callers(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
    #[values(LinkMode::Locker, LinkMode::Cache, LinkMode::Force)] link_mode: LinkMode,
) {
    let store = backend.start().await;
    let lease = store.take(LOCK, LONG).await;
    let mut plugin = Embedded::start(link_mode, LockerCtx::new(&store.locker, Scope::new("plugin").unwrap())).await;
    let before = store.waiter(&store.another_host(), LOCK, waiting_options()).await;
    let queued = store.queue(LOCK, async move { plugin.run(to_wait(link_mode)).await }).await;
    let after = store.waiter(&store.locker, LOCK, waiting_options()).await;

    store.locker.unlock(LOCK, &lease.token).await.unwrap();
    let before = granted(before.await.unwrap());
    store.locker.unlock(LOCK, &before.token).await.unwrap();
    queued.await.unwrap();
    let plugins = store.entry(LOCK).await.expect("the plugin has it");
    assert!(plugins.revision > before.fence);
    store.locker.unlock(LOCK, &plugins.value).await.unwrap();
    assert!(granted(after.await.unwrap()).fence > plugins.revision);
}

#[rstest]
#[tokio::test]
async fn a_plugin_that_is_dropped_while_it_waits_leaves_the_queue(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
    #[values(LinkMode::Locker, LinkMode::Cache, LinkMode::Force)] link_mode: LinkMode,
) {
    let store = backend.start().await;
    let lease = store.take(LOCK, LONG).await;
    let mut plugin = Embedded::start(link_mode, LockerCtx::new(&store.locker, Scope::new("plugin").unwrap())).await;
    gone(store.queue(LOCK, async move { plugin.run(to_wait(link_mode)).await }).await).await;
    until(async || store.queued(LOCK).await == 0).await;
    store.locker.unlock(LOCK, &lease.token).await.unwrap();
    assert_eq!(store.entry(LOCK).await, None);
}

#[rstest]
#[tokio::test]
async fn release_all_ends_the_waits_of_a_plugin(
    #[values(LinkMode::Locker, LinkMode::Cache, LinkMode::Force)] link_mode: LinkMode,
) {
    let store = Backend::Memory.start().await;
    store.take(LOCK, LONG).await;
    let locks = LockerCtx::new(&store.locker, Scope::new("plugin").unwrap());
    let mut plugin = Embedded::start(link_mode, locks.clone()).await;
    let waiting = store.queue(LOCK, async move { plugin.run(to_wait(link_mode)).await }).await;
    granted(locks.locker().lock("held", LONG).await);
    assert_eq!(locks.release_all().await, 1);
    let said = waiting.await.unwrap();
    assert!(said.starts_with("unavailable: the request was withdrawn"), "{said}");
    assert_eq!(store.queued(LOCK).await, 0);
}
