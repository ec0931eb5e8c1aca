//! Many clients that contend for one lock while the server is killed and started again.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use locker_host::{Lease, Lock, LockOptions, Locker};
use rstest::rstest;
use tokio::task::JoinSet;

use crate::harness::{RedisServer, until};

const CLIENTS: usize = 64;
const TTL: Duration = Duration::from_secs(2);

/// What the lock protects. It remembers all that it has seen.
#[derive(Default)]
struct Seen {
    fences: HashSet<u64>,
    highest: u64,
    /// Until when whoever was let in last may work, unless it has left.
    inside: Option<(u64, Instant)>,
    overlaps: Vec<String>,
}

impl Seen {
    /// Lets a holder in, if its fence is not behind.
    fn enter(&mut self, lease: &Lease) -> bool {
        assert!(self.fences.insert(lease.fence), "fence {} was granted twice", lease.fence);
        if lease.fence < self.highest {
            return false;
        }
        self.highest = lease.fence;
        let before = self.inside.replace((lease.fence, lease.deadline));
        if let Some((fence, _)) = before.filter(|(_, deadline)| Instant::now() < *deadline) {
            self.overlaps.push(format!("{fence} was still inside when {} came", lease.fence));
        }
        true
    }

    fn leave(&mut self, lease: &Lease) {
        self.inside.take_if(|(fence, _)| *fence == lease.fence);
    }
}

async fn client(locker: Locker, seen: Arc<Mutex<Seen>>, end: Instant) {
    while Instant::now() < end {
        let Ok(Lock::Granted(lease)) = locker.lock("job", LockOptions::from(TTL).wait(TTL)).await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        if seen.lock().unwrap().enter(&lease) {
            tokio::task::yield_now().await;
            seen.lock().unwrap().leave(&lease);
        }
        // If the server is gone, the lock ends by itself.
        _ = locker.unlock("job", &lease.token).await;
    }
}

#[rstest]
#[case::that_forgets(false)]
#[case::that_keeps_what_it_confirmed(true)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_again_and_again(#[case] keeps: bool) {
    let log: &[&str] = if keeps { &["--appendonly", "yes", "--appendfsync", "always"] } else { &[] };
    let mut server = RedisServer::start_with(|_| log.iter().map(ToString::to_string).collect()).await;
    let (seen, end) = (Arc::<Mutex<Seen>>::default(), Instant::now() + Duration::from_secs(8));
    let mut clients = JoinSet::new();
    for locker in (0..CLIENTS / 8).map(|_| server.locker()) {
        for _ in 0..8 {
            clients.spawn(client(locker.clone(), seen.clone(), end));
        }
    }
    for _ in 0..4 {
        let before = seen.lock().unwrap().fences.len();
        until(async || seen.lock().unwrap().fences.len() > before + 50).await;
        server.kill();
        server.start_again().await;
    }
    clients.join_all().await;
    let overlaps = std::mem::take(&mut seen.lock().unwrap().overlaps);
    assert!(!keeps || overlaps.is_empty(), "{overlaps:?}");
    let left: i64 = server.run(&["PTTL", "lock:job"]).await;
    assert!(left <= TTL.as_millis().try_into().unwrap(), "{left} ms");
}
