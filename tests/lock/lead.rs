//! Leading: holding a lock again and again, until some work is done.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use locker_host::{ErrorKind, Lease, LockOptions, Locker, Memory};
use rstest::rstest;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

use crate::harness::{Backend, Flaky, LONG, granted, until, waiting_options};

const TTL: Duration = Duration::from_secs(1);

/// Leads without an end, and tells of the lease of each term.
fn leader(locker: Locker, options: LockOptions, terms: UnboundedSender<Lease>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let work = |lease| {
            terms.send(lease).unwrap();
            pending::<()>()
        };
        locker.lead("job", options, work).await.unwrap();
    })
}

#[rstest]
#[tokio::test]
async fn a_leader_returns_what_its_work_returned_and_the_lock_is_free_after_it(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    let led = store.locker.lead("job", LONG, async |lease: Lease| (lease.fence, store.entry("job").await)).await;
    let (fence, entry) = led.unwrap();
    assert_eq!(entry.unwrap().revision, fence);
    assert_eq!(store.entry("job").await, None);
}

#[rstest]
#[tokio::test]
async fn leaders_follow_each_other_in_the_order_in_which_they_came(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    let first = store.take("job", LONG).await;
    let (terms, mut led) = unbounded_channel();
    for number in 0..3 {
        let (locker, terms) = (store.another_host(), terms.clone());
        let lead = async move {
            let led = locker.lead("job", LONG, async |lease: Lease| (number, lease.fence)).await.unwrap();
            terms.send(led).unwrap();
        };
        _ = store.queue("job", lead).await;
    }
    _ = store.locker.unlock("job", &first.token).await.unwrap();
    let mut last = first.fence;
    for number in 0..3 {
        let (leader, fence) = led.recv().await.unwrap();
        assert!(leader == number && fence > last, "{leader} {fence}");
        last = fence;
    }
}

#[rstest]
#[tokio::test]
async fn a_leader_that_lost_its_lock_leads_again_with_a_higher_fence(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    let (terms, mut led) = unbounded_channel();
    let leader = leader(store.locker.clone(), TTL.into(), terms);
    let mut last = 0;
    for _ in 0..3 {
        let lease = led.recv().await.unwrap();
        assert!(lease.fence > last);
        last = lease.fence;
        _ = store.another_host().unlock("job", lease.token).await.unwrap();
    }
    leader.abort();
}

#[tokio::test]
async fn the_work_of_a_leader_is_cancelled_before_another_leads() {
    struct Working(Arc<AtomicU64>);
    impl Drop for Working {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }
    let (store, working) = (Flaky::default(), Arc::<AtomicU64>::default());
    let counted = working.clone();
    let work = move |_| {
        assert_eq!(counted.fetch_add(1, Ordering::SeqCst), 0, "two leaders at a time");
        let working = Working(counted.clone());
        async move {
            let _working = working;
            pending::<()>().await;
        }
    };
    let leader = store.locker();
    let leading = tokio::spawn(async move { leader.lead("job", TTL, work).await });
    until(async || working.load(Ordering::SeqCst) == 1).await;
    store.fail(usize::MAX);
    granted(store.locker().lock("job", waiting_options()).await);
    assert_eq!(working.load(Ordering::SeqCst), 0);
    leading.abort();
}

#[tokio::test]
async fn a_leader_campaigns_through_outages() {
    let store = Flaky::default();
    store.set_outage(ErrorKind::Unavailable);
    let (terms, mut led) = unbounded_channel();
    let leader = leader(store.locker(), LONG.into(), terms);
    until(async || store.sets() > 2).await;
    store.set_outage(None);
    assert!(led.recv().await.unwrap().fence > 0);
    leader.abort();
}

#[rstest]
#[tokio::test]
async fn a_refusal_ends_a_campaign(#[values(ErrorKind::Denied, ErrorKind::Invalid)] refusal: ErrorKind) {
    let store = Flaky::default();
    store.set_outage(refusal);
    let error = store.locker().lead("job", LONG, async |_| ()).await.unwrap_err();
    assert_eq!(error.kind(), refusal);
}

#[tokio::test]
async fn closing_the_locker_ends_a_campaign_and_a_term() {
    let locker = Locker::new(Memory::default()).unwrap();
    let guard = locker.campaign("job", LONG).await.unwrap();
    let (leading, waiting) = (locker.clone(), locker.clone());
    let term = tokio::spawn(async move { leading.lead("other", LONG, |_| pending::<()>()).await });
    let campaign = tokio::spawn(async move { waiting.campaign("job", LONG).await.map(drop) });
    until(async || locker.inspect("other").await.unwrap().is_some()).await;
    locker.close().await;
    assert_eq!(term.await.unwrap().unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(campaign.await.unwrap().unwrap_err().kind(), ErrorKind::Unavailable);
    drop(guard);
}

#[tokio::test]
async fn a_leader_that_loses_each_term_at_once_lets_others_run() {
    let locker = Locker::new(Memory::default()).unwrap();
    let options = LockOptions::from(LONG).max_hold(Duration::ZERO);
    let leading = locker.clone();
    let leader = tokio::spawn(async move { leading.lead("job", options, |_| pending::<()>()).await });
    tokio::task::yield_now().await;
    leader.abort();
    until(async || locker.inspect("job").await.unwrap().is_none()).await;
}

#[rstest]
#[tokio::test]
async fn a_leader_that_is_cancelled_hands_over_and_leaves_no_task(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    _ = store.locker.inspect("job").await;
    let before = Handle::current().metrics().num_alive_tasks();
    let (terms, mut led) = unbounded_channel();
    let leader = leader(store.locker.clone(), LONG.into(), terms);
    led.recv().await.unwrap();
    leader.abort();
    until(async || store.entry("job").await.is_none()).await;
    until(async || Handle::current().metrics().num_alive_tasks() == before).await;
}
