//! Waiting for a lock while its store is away.

use std::sync::{Arc, Mutex};

use locker_host::{Error, ErrorKind, LockOptions, LockOutcome, Locker, Token};
use rstest::rstest;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::harness::{Flaky, LONG, SHORT, granted, until, waiting_options};

/// A caller that waits through outages, and what it is told.
struct Waiter {
    call: JoinHandle<Result<LockOutcome, Error>>,
    told: Arc<Mutex<Vec<String>>>,
}

impl Waiter {
    fn start(locker: Locker, options: LockOptions) -> Self {
        let told = Arc::<Mutex<Vec<_>>>::default();
        let outages = told.clone();
        let options = options.through_outages(move |error| outages.lock().unwrap().push(error.to_string()));
        Self { call: tokio::spawn(async move { locker.lock("job", options).await }), told }
    }

    fn outages(&self) -> usize {
        self.told.lock().unwrap().len()
    }
}

/// Waits until so many more attempts have been made.
async fn attempts(store: &Flaky, more: usize) {
    let before = store.sets();
    until(async || store.sets() >= before + more).await;
}

#[tokio::test]
async fn a_wait_goes_on_through_an_outage_and_tells_of_it_once() {
    let store = Flaky::default();
    store.set_outage(ErrorKind::Unavailable);
    let waiter = Waiter::start(store.locker(), waiting_options());
    attempts(&store, 3).await;
    store.set_outage(None);
    granted(waiter.call.await.unwrap());
    assert_eq!(*waiter.told.lock().unwrap(), [r#"lock "job": the store is away"#]);
}

#[tokio::test]
async fn a_second_outage_is_told_too() {
    let store = Flaky::default();
    let lease = granted(store.locker().lock("job", LONG).await);
    let waiter = Waiter::start(store.locker(), waiting_options());
    for outage in 1..=2 {
        store.set_outage(ErrorKind::Unavailable);
        attempts(&store, 2).await;
        assert_eq!(waiter.outages(), outage);
        store.set_outage(None);
        // The first attempt says that the outage is over, and the second one waits.
        attempts(&store, 2).await;
    }
    _ = store.locker().unlock("job", lease.token).await.unwrap();
    granted(waiter.call.await.unwrap());
}

#[rstest]
#[tokio::test]
async fn a_refusal_ends_a_wait_also_during_an_outage(
    #[values(ErrorKind::Denied, ErrorKind::Invalid)] refusal: ErrorKind,
) {
    let store = Flaky::default();
    store.set_outage(ErrorKind::Unavailable);
    let waiter = Waiter::start(store.locker(), waiting_options());
    attempts(&store, 2).await;
    store.set_outage(refusal);
    assert_eq!(waiter.call.await.unwrap().unwrap_err().kind(), refusal);
}

#[tokio::test]
async fn a_wait_that_ends_during_an_outage_fails_with_its_reason() {
    let store = Flaky::default();
    store.set_outage(ErrorKind::Unavailable);
    let waiter = Waiter::start(store.locker(), LockOptions::from(LONG).wait(SHORT));
    let error = waiter.call.await.unwrap().unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (ErrorKind::Unavailable, r#"lock "job": the store is away"#)
    );
}

#[tokio::test]
async fn a_single_attempt_fails_at_once() {
    let store = Flaky::default();
    store.set_outage(ErrorKind::Unavailable);
    let caller = Waiter::start(store.locker(), LONG.into());
    let told = caller.told.clone();
    assert_eq!(caller.call.await.unwrap().unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!((store.sets(), told.lock().unwrap().len()), (1, 0));
}

#[tokio::test]
async fn an_outage_ends_a_wait_with_a_chosen_token_that_is_being_withdrawn() {
    let store = Flaky::default();
    granted(store.locker().lock("job", LONG).await);
    let token = Token::from("5f3a9c1e7b2d4806f1e2d3c4b5a69788".to_owned());
    let before = store.sets();
    let waiter = Waiter::start(store.locker(), waiting_options().token(token));
    until(async || store.sets() > before).await;
    store.set_outage(ErrorKind::Unavailable);
    assert_eq!(waiter.call.await.unwrap().unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn closing_the_locker_ends_a_wait_during_an_outage() {
    let store = Flaky::default();
    let locker = store.locker();
    store.set_outage(ErrorKind::Unavailable);
    let waiter = Waiter::start(locker.clone(), waiting_options());
    attempts(&store, 2).await;
    locker.close().await;
    assert_eq!(waiter.call.await.unwrap().unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_waiter_that_is_cancelled_during_an_outage_leaves_no_task_and_no_lock() {
    let store = Flaky::default();
    let locker = store.locker();
    store.set_outage(ErrorKind::Unavailable);
    let waiter = Waiter::start(locker.clone(), waiting_options());
    attempts(&store, 2).await;
    waiter.call.abort();
    until(async || Handle::current().metrics().num_alive_tasks() == 0).await;
    store.set_outage(None);
    assert_eq!(locker.inspect("job").await.unwrap(), None);
}
