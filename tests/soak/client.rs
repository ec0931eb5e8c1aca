//! One of those who contend.

use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use locker_host::{Error, ExtendOutcome, Lease, LockOptions, LockOutcome, Locker, UnlockOutcome};
use tokio::time::{sleep, timeout};

use super::World;
use crate::harness::Protected;

pub(super) const TTL: Duration = Duration::from_secs(2);
/// The longest that a call may take that waits for a lock, on a machine that is busy.
const LONGEST: Duration = Duration::from_secs(30);

pub(super) struct Client {
    locker: Locker,
    random: fastrand::Rng,
}

impl Client {
    pub(super) fn new(locker: Locker, seed: u64) -> Self {
        Self { locker, random: fastrand::Rng::with_seed(seed) }
    }

    pub(super) async fn run(mut self, world: Arc<World>) {
        while !world.is_over() {
            let number = self.random.usize(0..world.protected.len());
            self.turn(&world, number).await;
        }
    }

    async fn turn(&mut self, world: &World, number: usize) {
        let name = format!("lock-{number}");
        let options = LockOptions::from(TTL).wait(TTL).owner("soak");
        // Some lose their patience at any moment. What such a call took must not stay.
        let patience = if self.random.u8(0..20) == 0 { self.millis(0..50) } else { LONGEST };
        let started = Instant::now();
        let Ok(locked) = timeout(patience, self.locker.lock(&name, options)).await else {
            let ended = patience < LONGEST;
            return if ended { world.tally.dropped.count() } else { world.tally.endless.count() };
        };
        world.tally.took(started.elapsed());
        match locked {
            Ok(LockOutcome::Granted(lease)) => self.hold(world, number, &name, &lease).await,
            Ok(LockOutcome::Held(_)) => world.tally.held.count(),
            Err(error) => self.failed(world, &error).await,
        }
    }

    async fn hold(&mut self, world: &World, number: usize, name: &str, lease: &Lease) {
        world.tally.grants.count();
        let protected = || lock(world, number);
        if !protected().enter(lease) {
            return;
        }
        match self.random.u16(0..1000) {
            // Paused past the end of its lease, and then it goes on as if nothing had happened.
            0 => {
                sleep(TTL + self.millis(0..1000)).await;
                _ = protected().write(lease);
            }
            1..100 => match self.locker.extend(name, &lease.token, TTL).await {
                // What was extended lasts longer than we say, which is no harm.
                Ok(ExtendOutcome::Extended(_)) => world.tally.extensions.count(),
                Ok(_) if Instant::now() < lease.deadline => world.tally.lost.count(),
                Ok(_) => {}
                Err(error) => self.failed(world, &error).await,
            },
            _ => sleep(self.millis(0..5)).await,
        }
        protected().leave(lease);
        match self.locker.unlock(name, &lease.token).await {
            Ok(UnlockOutcome::Released) => world.tally.releases.count(),
            Ok(_) if Instant::now() >= lease.deadline => world.tally.expired.count(),
            // The answer of the release that did it got lost.
            Ok(UnlockOutcome::Absent) => world.tally.releases.count(),
            Ok(UnlockOutcome::HeldByOther) => world.tally.lost.count(),
            Err(error) => self.failed(world, &error).await,
        }
    }

    async fn failed(&mut self, world: &World, error: &Error) {
        world.tally.failed(error.kind());
        sleep(self.millis(10..100)).await;
    }

    fn millis(&mut self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.random.u64(range))
    }
}

pub(super) fn lock(world: &World, number: usize) -> MutexGuard<'_, Protected> {
    world.protected[number].lock().unwrap_or_else(PoisonError::into_inner)
}
