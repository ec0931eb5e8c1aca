//! Locks of others on the same server, in turns with ours: how many pairs of lock and unlock clients make, and how long it takes from a release
//! until the next one knows that it holds the lock. `rslock` polls, as often as it does by default.

#![allow(clippy::expect_used, missing_docs, reason = "what fails here ends the measurement")]

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use locker_benches::{Server, median};
use locker_host::{LockOptions, Locker, Redis, Token};
use rslock::LockManager;
use tokio::task::JoinSet;
use tokio::time::sleep;

const TTL: Duration = Duration::from_secs(60);
const TURNS: usize = 5;
const TIME: Duration = Duration::from_secs(1);
/// How long `rslock` pauses between two attempts by default, at most.
const PAUSE: Duration = Duration::from_millis(200);

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let server = Server::start();
    let url = server.url();
    for clients in [1, 64] {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..TURNS {
            ours.push(rate(clients, || Peer::locker(&url)).await);
            theirs.push(rate(clients, || Peer::rslock(&url)).await);
        }
        println!("{clients} clients: locker {:.0} pairs/s, rslock {:.0} pairs/s", median(ours), median(theirs));
    }
    for waiters in [2, 16, 64] {
        let ours = hand_offs(waiters, || Peer::locker(&url)).await;
        let theirs = hand_offs(waiters, || Peer::rslock(&url)).await;
        println!("hand-off, {waiters} waiters: locker {ours:.1?}, rslock {theirs:.1?}");
    }
}

/// A client with a connection of its own.
enum Peer {
    Locker(Locker),
    Rslock(LockManager),
}

impl Peer {
    fn locker(url: &str) -> Self {
        Self::Locker(Locker::new(Redis::open(url).expect("a URL")).expect("the component runs"))
    }

    fn rslock(url: &str) -> Self {
        let mut manager = LockManager::new(vec![url.to_owned()]);
        manager.set_retry(u32::MAX, PAUSE);
        Self::Rslock(manager)
    }

    async fn lock(&self, name: &str) -> Held {
        match self {
            Self::Locker(locker) => {
                let lock = locker.lock(name, LockOptions::from(TTL).wait(TTL)).await.expect("the server is there");
                Held::Locker(lock.granted().expect("each holder releases it soon").token)
            }
            Self::Rslock(manager) => Held::Rslock(manager.lock(name, TTL).await.expect("each holder releases it soon")),
        }
    }

    async fn unlock(&self, name: &str, held: Held) {
        match (self, held) {
            (Self::Locker(locker), Held::Locker(token)) => {
                locker.unlock(name, &token).await.expect("the server is there");
            }
            (Self::Rslock(manager), Held::Rslock(lock)) => manager.unlock(&lock).await,
            _ => unreachable!("it is another's"),
        }
    }
}

/// A lock that is held.
enum Held {
    Locker(Token),
    Rslock(rslock::Lock),
}

/// How many pairs a second clients make, each with a name of its own.
async fn rate(clients: usize, peer: impl Fn() -> Peer) -> f64 {
    let mut running = JoinSet::new();
    for number in 0..clients {
        let (peer, name) = (peer(), format!("lock-{number}"));
        running.spawn(async move {
            // The first time makes a connection.
            peer.unlock(&name, peer.lock(&name).await).await;
            let (started, mut times) = (Instant::now(), 0_u32);
            while started.elapsed() < TIME {
                peer.unlock(&name, peer.lock(&name).await).await;
                times += 1;
            }
            f64::from(times) / started.elapsed().as_secs_f64()
        });
    }
    running.join_all().await.into_iter().sum()
}

/// How long it took from each release until the next one knew that it holds the lock.
async fn hand_offs(waiters: usize, peer: impl Fn() -> Peer) -> Duration {
    let (released, took) = (Arc::<Mutex<Option<Instant>>>::default(), Arc::<Mutex<Vec<Duration>>>::default());
    let (mut running, end) = (JoinSet::new(), Instant::now() + 3 * TIME);
    for _ in 0..=waiters {
        let (peer, released, took) = (peer(), released.clone(), took.clone());
        running.spawn(async move {
            while Instant::now() < end {
                let held = peer.lock("turn").await;
                let last = released.lock().expect("it is sound").take();
                took.lock().expect("it is sound").extend(last.map(|last| last.elapsed()));
                sleep(Duration::from_millis(2)).await;
                *released.lock().expect("it is sound") = Some(Instant::now());
                peer.unlock("turn", held).await;
                // Where there is no queue, the caller that released the lock would often be the next one.
                while released.lock().expect("it is sound").is_some() && Instant::now() < end {
                    sleep(Duration::from_millis(1)).await;
                }
            }
        });
    }
    running.join_all().await;
    median(std::mem::take(&mut took.lock().expect("it is sound")))
}
