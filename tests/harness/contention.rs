//! Callers on two sides of a network that contend for one lock, and write to what it guards.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use locker_host::{LockOptions, LockOutcome, Locker};
use tokio::task::JoinHandle;

use super::side::Seen;
use super::{FencedRegister, History, Network, RedisServer, Side};

const CALLERS: usize = 12;
const TTL: Duration = Duration::from_secs(2);
const WORK: Duration = Duration::from_millis(2);

pub(crate) struct Contention {
    pub(crate) sides: [Side; 2],
    callers: Vec<JoinHandle<()>>,
    history: Arc<Mutex<History>>,
    over: Arc<AtomicBool>,
    /// Both sides reach what the lock guards, whatever happens.
    guarded: RedisServer,
}

impl Contention {
    /// Starts callers on both sides, and waits until both have been granted the lock.
    pub(crate) async fn start(network: &Network, locker: impl Fn() -> Locker) -> Self {
        let guarded = RedisServer::start_on(Some(network.host()), |_| Vec::new()).await;
        let sides = [(); 2].map(|()| Side::new(network.host()));
        let (history, over) = (Arc::default(), Arc::default());
        let mut contention = Self { sides, callers: Vec::new(), history, over, guarded };
        for number in 0..CALLERS {
            let side = &contention.sides[number % 2];
            let caller = Caller {
                locker: locker(),
                register: side.spawn(FencedRegister::connect(contention.guarded.url())).await.unwrap(),
                seen: side.seen.clone(),
                history: contention.history.clone(),
                over: contention.over.clone(),
            };
            contention.callers.push(side.spawn(caller.contend()));
        }
        contention.both_are_granted_the_lock().await;
        contention
    }

    /// Waits until the callers of each side have been granted the lock some more times.
    pub(crate) async fn both_are_granted_the_lock(&self) {
        let [one, other] = &self.sides;
        tokio::join!(one.is_granted_the_lock(), other.is_granted_the_lock());
    }

    /// Waits for the callers to end, and checks what is so on all stores while the servers' clocks agree. Returns the history.
    pub(crate) async fn end(self) -> History {
        self.over.store(true, Ordering::SeqCst);
        for caller in self.callers {
            caller.await.unwrap();
        }
        let history = std::mem::take(&mut *self.history.lock().unwrap());
        assert_eq!(history.inversions(), Vec::<u64>::new(), "these fences are lower than earlier ones");
        assert_eq!(history.wrong_writes(), Vec::<u64>::new(), "these writes have a wrong answer");
        history
    }
}

struct Caller {
    locker: Locker,
    register: FencedRegister,
    seen: Arc<Seen>,
    history: Arc<Mutex<History>>,
    over: Arc<AtomicBool>,
}

impl Caller {
    async fn contend(mut self) {
        while !self.over.load(Ordering::SeqCst) {
            let called = Instant::now();
            match self.locker.lock("job", LockOptions::from(TTL).wait(TTL)).await {
                Ok(LockOutcome::Granted(lease)) => {
                    let granted = Instant::now();
                    self.history.lock().unwrap().add(called, lease.fence);
                    self.write(lease.fence).await;
                    // Work that takes time lets others overlap, and leaves some of the machine to the servers.
                    tokio::time::sleep(WORK).await;
                    self.write(lease.fence).await;
                    let released = lease.deadline.min(Instant::now());
                    self.history.lock().unwrap().add_hold(lease.fence, granted, released);
                    self.seen.grants.fetch_add(1, Ordering::SeqCst);
                    // If the server is gone, the lock ends by itself.
                    _ = self.locker.unlock("job", &lease.token).await;
                }
                Ok(LockOutcome::Held(_)) => {}
                Err(_) => {
                    self.seen.errors.fetch_add(1, Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        }
    }

    async fn write(&mut self, fence: u64) {
        let called = Instant::now();
        let accepted = self.register.write(fence).await.unwrap();
        self.history.lock().unwrap().add_write(called, fence, accepted);
    }
}
