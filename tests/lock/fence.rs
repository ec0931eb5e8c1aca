//! Fences: numbers that only rise.

use std::sync::{Arc, Mutex};

use locker_host::{Locker, Memory};
use rstest::rstest;
use tokio::task::JoinSet;

use crate::harness::{Backend, LONG, RedisServer, SHORT, granted, key_of, waiting_options};

#[rstest]
#[tokio::test]
async fn a_fence_rises_after_release_expiry_and_on_another_host(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    let released = store.take("job", LONG).await;
    store.locker.unlock("job", &released.token).await.unwrap();
    let expired = store.take("job", SHORT).await;
    let waited = store.take("job", waiting_options()).await;
    store.locker.unlock("job", &waited.token).await.unwrap();
    let elsewhere = granted(store.another_host().lock("job", LONG).await);
    let fences = [released.fence, expired.fence, waited.fence, elsewhere.fence];
    assert!(fences.is_sorted_by(|before, after| before < after), "{fences:?}");
}

#[tokio::test]
async fn a_fence_rises_after_the_store_lost_everything() {
    let mut server = RedisServer::start().await;
    let locker = server.locker();
    let first = granted(locker.lock("job", LONG).await);
    () = server.run(&["FLUSHALL"]).await;
    let flushed = granted(locker.lock("job", LONG).await);
    server.kill();
    server.start_again().await;
    let restarted = granted(locker.lock("job", LONG).await);
    assert!(first.fence < flushed.fence && flushed.fence < restarted.fence);
}

#[tokio::test]
async fn a_fence_rises_in_memory_that_was_made_anew() {
    let first = granted(Locker::new(Memory::default()).unwrap().lock("job", LONG).await);
    let second = granted(Locker::new(Memory::default()).unwrap().lock("job", LONG).await);
    assert!(first.fence < second.fence);
}

#[tokio::test]
async fn a_fence_rises_even_if_the_servers_clock_was_ahead_before() {
    let server = RedisServer::start().await;
    let ahead = 8_000_000_000_000_000_u64;
    () = server.run(&["SET", &key_of("fence", "job"), &ahead.to_string()]).await;
    assert_eq!(granted(server.locker().lock("job", LONG).await).fence, ahead + 1);
}

#[rstest]
#[tokio::test]
async fn fences_rise_in_the_order_of_the_grants(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    let fences = Arc::<Mutex<Vec<u64>>>::default();
    let mut workers = JoinSet::new();
    for _ in 0..4 {
        let (locker, fences) = (store.another_host(), fences.clone());
        workers.spawn(async move {
            for _ in 0..25 {
                let lease = granted(locker.lock("job", waiting_options()).await);
                fences.lock().unwrap().push(lease.fence);
                locker.unlock("job", &lease.token).await.unwrap();
            }
        });
    }
    workers.join_all().await;
    let fences = fences.lock().unwrap();
    assert_eq!(fences.len(), 100);
    assert!(fences.is_sorted_by(|before, after| before < after), "{fences:?}");
}

#[rstest]
#[tokio::test]
async fn a_paused_holders_late_write_is_rejected_by_a_receiver_that_remembers_the_fence(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    let file = Guarded::default();
    let paused = store.take("job", SHORT).await;
    let next = store.take("job", waiting_options()).await;
    assert!(file.write(next.fence, "new"));
    assert!(!file.write(paused.fence, "old"), "the holder wakes up and goes on as if nothing had happened");
    assert_eq!(file.0.lock().unwrap().1, "new");
}

/// What a lock protects: it takes no write with a fence lower than the highest it has seen.
#[derive(Default)]
struct Guarded(Mutex<(u64, String)>);

impl Guarded {
    fn write(&self, fence: u64, text: &str) -> bool {
        let mut state = self.0.lock().unwrap();
        let fresh = fence >= state.0;
        if fresh {
            *state = (fence, text.to_owned());
        }
        fresh
    }
}
