use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use super::*;
use crate::store::ErrorKind;

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(20);

type Call = Pin<Box<dyn Future<Output = Result<SetOutcome, CacheError>> + Send>>;

/// A call that waits for the key, and has come into the queue.
fn waiter(memory: &Memory, value: impl ToString, ttl: Duration, wait: Duration) -> Call {
    let (memory, value) = (memory.clone(), value.to_string());
    let mut call: Call = Box::pin(async move { memory.set_if_absent("key", &value, Some(ttl), wait).await });
    assert!(poll(&mut call).is_pending());
    call
}

fn poll(call: &mut Call) -> Poll<Result<SetOutcome, CacheError>> {
    call.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

async fn set(memory: &Memory, value: &str, ttl: Duration) -> SetOutcome {
    memory.try_set("key", value, Some(ttl)).await.unwrap()
}

async fn holder(memory: &Memory) -> Option<String> {
    memory.get("key").await.unwrap().map(|entry| entry.value)
}

#[track_caller]
fn stored(outcome: Result<SetOutcome, CacheError>) -> u64 {
    match outcome.unwrap() {
        SetOutcome::Stored(stored) => stored.revision,
        SetOutcome::Occupied(entry) => panic!("{entry:?}"),
    }
}

fn nothing_is_left(memory: &Memory) -> bool {
    memory.table().0.sizes() == (0, 0, 0)
}

#[tokio::test]
async fn the_first_in_the_queue_has_the_key_next_whatever_freed_it() {
    let memory = Memory::default();
    set(&memory, "released", LONG).await;
    let expiring = waiter(&memory, "expiring", SHORT, LONG);
    let withdrawn = waiter(&memory, "withdrawn", LONG, LONG);
    let last = waiter(&memory, "last", LONG, LONG);
    memory.delete_if_equal("key", "released").await.unwrap();
    let mut revision = stored(expiring.await);
    // It expires.
    for (call, value) in [(withdrawn, "withdrawn"), (last, "last")] {
        let next = stored(call.await);
        assert!(next > revision);
        revision = next;
        assert_eq!(holder(&memory).await.as_deref(), Some(value));
        memory.withdraw("key", value).await.unwrap();
    }
    assert!(nothing_is_left(&memory));
}

#[tokio::test]
async fn the_key_changes_hands_in_the_step_that_frees_it() {
    let memory = Memory::default();
    set(&memory, "first", LONG).await;
    let mut next = waiter(&memory, "next", LONG, LONG);
    memory.delete_if_equal("key", "first").await.unwrap();
    assert!(matches!(set(&memory, "newcomer", LONG).await, SetOutcome::Occupied(entry) if entry.value == "next"));
    assert!(poll(&mut next).is_ready());
    set(&memory, "first", LONG).await;
}

#[tokio::test]
async fn a_call_without_a_wait_does_not_overtake_when_the_key_expires() {
    let memory = Memory::default();
    set(&memory, "first", SHORT).await;
    let next = waiter(&memory, "next", LONG, LONG);
    tokio::time::sleep(2 * SHORT).await;
    assert!(matches!(set(&memory, "newcomer", LONG).await, SetOutcome::Occupied(entry) if entry.value == "next"));
    stored(next.await);
}

#[tokio::test]
async fn a_repeated_request_keeps_its_position_and_its_revision() {
    let memory = Memory::default();
    set(&memory, "first", LONG).await;
    let (once, _other) = (waiter(&memory, "value", LONG, LONG), waiter(&memory, "other", LONG, LONG));
    let twice = waiter(&memory, "value", SHORT, LONG);
    assert!(matches!(set(&memory, "value", LONG).await, SetOutcome::Occupied(_)));
    memory.delete_if_equal("key", "first").await.unwrap();
    let revision = stored(once.await);
    assert_eq!(revision, stored(twice.await));
    assert_eq!(revision, stored(memory.set_if_absent("key", "value", None, LONG).await));
    assert_eq!(holder(&memory).await.as_deref(), Some("value"));
}

#[tokio::test]
async fn a_request_stays_in_the_queue_until_its_last_call_ends() {
    let memory = Memory::default();
    set(&memory, "first", LONG).await;
    let (once, twice) = (waiter(&memory, "value", LONG, LONG), waiter(&memory, "value", LONG, SHORT));
    assert!(matches!(twice.await, Ok(SetOutcome::Occupied(_))));
    drop(waiter(&memory, "value", LONG, LONG));
    assert_eq!(memory.table().0.sizes(), (1, 1, 1));
    memory.delete_if_equal("key", "first").await.unwrap();
    drop(waiter_of_stored(&memory).await);
    stored(once.await);
    assert_eq!(holder(&memory).await.as_deref(), Some("value"));
}

/// One more call for the value that is stored.
async fn waiter_of_stored(memory: &Memory) -> Result<SetOutcome, CacheError> {
    memory.set_if_absent("key", "value", None, LONG).await
}

#[tokio::test]
async fn a_call_that_is_dropped_leaves_the_queue_at_once() {
    let memory = Memory::default();
    set(&memory, "first", LONG).await;
    let (dropped, next) = (waiter(&memory, "dropped", LONG, LONG), waiter(&memory, "next", LONG, LONG));
    drop(dropped);
    assert_eq!(memory.table().0.sizes(), (1, 1, 1));
    memory.delete_if_equal("key", "first").await.unwrap();
    stored(next.await);
}

#[tokio::test]
async fn a_key_that_was_given_to_a_call_that_is_dropped_goes_to_the_next() {
    let memory = Memory::default();
    set(&memory, "first", LONG).await;
    let (dropped, next) = (waiter(&memory, "dropped", LONG, LONG), waiter(&memory, "next", LONG, LONG));
    memory.delete_if_equal("key", "first").await.unwrap();
    assert_eq!(holder(&memory).await.as_deref(), Some("dropped"));
    drop(dropped);
    assert_eq!(holder(&memory).await.as_deref(), Some("next"));
    drop(next);
    assert!(nothing_is_left(&memory));
}

#[tokio::test]
async fn a_withdrawn_value_is_neither_queued_nor_stored() {
    let memory = Memory::default();
    set(&memory, "first", SHORT).await;
    let (withdrawn, next) = (waiter(&memory, "withdrawn", LONG, LONG), waiter(&memory, "next", LONG, LONG));
    memory.withdraw("key", "withdrawn").await.unwrap();
    assert_eq!(withdrawn.await.unwrap_err().kind(), ErrorKind::Unavailable);
    // It is the head now, and notices that the key expires.
    stored(next.await);
    memory.withdraw("key", "next").await.unwrap();
    memory.withdraw("key", "next").await.unwrap();
    assert!(nothing_is_left(&memory));
}

#[tokio::test]
async fn a_caller_whose_wait_is_over_has_left_the_queue() {
    let memory = Memory::default();
    set(&memory, "first", LONG).await;
    let outcome = waiter(&memory, "value", LONG, SHORT).await;
    assert!(matches!(outcome, Ok(SetOutcome::Occupied(entry)) if entry.value == "first"));
    assert_eq!(memory.table().0.sizes(), (1, 1, 0));
}

#[tokio::test]
async fn a_head_notices_that_the_key_expires_sooner_or_later_than_before() {
    let memory = Memory::default();
    set(&memory, "first", LONG).await;
    let mut next = waiter(&memory, "next", LONG, LONG);
    memory.extend_if_equal("key", "first", 2 * LONG).await.unwrap();
    assert!(poll(&mut next).is_pending());
    memory.extend_if_equal("key", "first", SHORT).await.unwrap();
    stored(next.await);
}

/// Counts how often calls are woken.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn a_hand_off_wakes_the_next_caller_and_the_new_head_only() {
    let (memory, wakes) = (Memory::default(), Arc::<Wakes>::default());
    set(&memory, "first", LONG).await;
    let mut calls: Vec<Call> = (0..10_000).map(|n| waiter(&memory, n, LONG, LONG)).collect();
    let waker = Waker::from(wakes.clone());
    for call in &mut calls {
        assert!(call.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }
    memory.delete_if_equal("key", "first").await.unwrap();
    assert_eq!(wakes.0.load(Ordering::SeqCst), 2);
    stored(calls.swap_remove(0).await);
    drop(calls);
    memory.delete_if_equal("key", "0").await.unwrap();
    assert!(nothing_is_left(&memory));
}

#[tokio::test]
async fn expired_values_do_not_pile_up() {
    let memory = Memory::default();
    for n in 0..1000 {
        memory.try_set(&n.to_string(), "value", Some(Duration::from_millis(1))).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(2)).await;
    memory.try_set("one more", "value", None).await.unwrap();
    assert_eq!(memory.table().0.sizes(), (1, 1, 0));
}

#[tokio::test]
async fn an_extended_and_deleted_value_leaves_nothing_behind() {
    let memory = Memory::default();
    set(&memory, "value", LONG).await;
    for ttl in [Duration::from_secs(1), LONG] {
        memory.extend_if_equal("key", "value", ttl).await.unwrap();
    }
    assert_eq!(memory.table().0.sizes(), (1, 1, 0));
    memory.delete_if_equal("key", "value").await.unwrap();
    assert!(nothing_is_left(&memory));
}

#[tokio::test]
async fn watching_ends_when_the_key_is_free_or_the_time_is_up() {
    let memory = Memory::default();
    set(&memory, "value", LONG).await;
    memory.watch("key", SHORT).await.unwrap();
    set(&memory, "value", LONG).await;
    memory.extend_if_equal("key", "value", SHORT).await.unwrap();
    memory.watch("key", LONG).await.unwrap();
    assert_eq!(holder(&memory).await, None);
}

#[tokio::test]
async fn a_restored_value_has_its_revision_and_later_ones_are_larger() {
    let memory = Memory::default();
    let revision = u64::MAX / 2;
    assert_eq!(stored(memory.restore("key", "value", LONG, revision).await), revision);
    assert_eq!(stored(memory.restore("key", "value", LONG, revision).await), revision);
    assert!(matches!(memory.restore("key", "other", LONG, revision).await, Ok(SetOutcome::Occupied(_))));
    assert!(
        matches!(memory.restore("key", "value", LONG, revision + 5).await, Ok(SetOutcome::Stored(stored)) if stored.revision == revision + 5)
    );
    memory.delete_if_equal("key", "value").await.unwrap();
    assert_eq!(stored(memory.try_set("key", "value", None).await), revision + 6);
}

#[tokio::test]
async fn a_time_to_live_beyond_the_clock_is_refused() {
    let memory = Memory::default();
    for wait in [Duration::ZERO, LONG] {
        let refused = memory.set_if_absent("key", "value", Some(Duration::MAX), wait).await;
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Invalid);
    }
    set(&memory, "value", LONG).await;
    let _forever = waiter(&memory, "other", LONG, Duration::MAX);
    assert!(memory.extend_if_equal("key", "value", Duration::MAX).await.is_err());
}
