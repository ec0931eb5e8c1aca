//! From one holder to the next.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use locker_host::{LockOptions, Locker};
use tokio::task::JoinSet;

use super::Store;
use super::native::Native;
use super::sample::{Row, Sample};

const LONG: Duration = Duration::from_secs(60);

/// How long it takes from the beginning of a release until the next holder knows that it is one, among waiters with
/// connections of their own; and with a signal by BLPOP instead of a lock.
pub(super) async fn measure(store: &Store, waiters: usize, time: Duration) -> Result<Row> {
    const TURNS: u32 = 4;
    let (mut natives, mut ours) = (Sample::default(), Sample::default());
    for _ in 0..TURNS {
        natives.extend(native(store, waiters, time / TURNS).await?);
        ours.extend(lockers(store, waiters, time / TURNS).await?);
    }
    let mut row = Row::times(format!("hand-off, {waiters} waiters"), natives, ours);
    row.load = Some(load(store, waiters, time / TURNS).await?);
    Ok(row)
}

/// When the last release began.
#[derive(Clone, Default)]
struct Released(Arc<Mutex<Option<Instant>>>);

impl Released {
    fn now(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn elapsed(&self) -> Option<Duration> {
        let released = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        released.map(|released| released.elapsed())
    }
}

async fn native(store: &Store, waiters: usize, time: Duration) -> Result<Sample> {
    let (mut running, released, end) = (JoinSet::new(), Released::default(), Instant::now() + time);
    for _ in 0..=waiters {
        let (mut waiting, mut giving) = (store.native().await?, store.native().await?);
        let released = released.clone();
        running.spawn(async move { take_signals(&mut waiting, &mut giving, &released, end).await });
    }
    let mut first = store.native().await?;
    first.signal("turn").await?;
    let sample = collect(running).await;
    first.forget("turn").await?;
    sample
}

async fn take_signals(waiting: &mut Native, giving: &mut Native, released: &Released, end: Instant) -> Result<Sample> {
    let mut sample = Sample::default();
    loop {
        waiting.wait("turn").await?;
        released.elapsed().into_iter().for_each(|time| sample.add(time));
        let over = Instant::now() >= end;
        // The next one waits by now.
        work().await;
        released.now();
        giving.signal("turn").await?;
        if over {
            return Ok(sample);
        }
    }
}

async fn lockers(store: &Store, waiters: usize, time: Duration) -> Result<Sample> {
    let (mut running, released, end) = (JoinSet::new(), Released::default(), Instant::now() + time);
    for _ in 0..=waiters {
        running.spawn(take_turns(store.locker()?, released.clone(), end));
    }
    collect(running).await
}

async fn take_turns(locker: Locker, released: Released, end: Instant) -> Result<Sample> {
    let mut sample = Sample::default();
    while Instant::now() < end {
        let lock = locker.lock("turn", LockOptions::from(LONG).wait(LONG)).await?;
        released.elapsed().into_iter().for_each(|time| sample.add(time));
        let lease = lock.granted().context("another program uses the locks of this measurement")?;
        work().await;
        released.now();
        locker.unlock("turn", &lease.token).await?;
    }
    Ok(sample)
}

/// Long enough for the others to wait.
async fn work() {
    tokio::time::sleep(Duration::from_millis(2)).await;
}

async fn collect(mut running: JoinSet<Result<Sample>>) -> Result<Sample> {
    let mut all = Sample::default();
    while let Some(sample) = running.join_next().await {
        all.extend(sample??);
    }
    Ok(all)
}

/// How many requests to the server a hand-off costs, and how many commands it does for them, among waiters that share a locker.
async fn load(store: &Store, waiters: usize, time: Duration) -> Result<(f64, f64)> {
    let (locker, mut native) = (store.locker()?, store.native().await?);
    let (mut running, mut hand_offs, end) = (JoinSet::new(), 0, Instant::now() + time);
    let before = native.load().await?;
    for _ in 0..=waiters {
        let locker = locker.clone();
        running.spawn(async move {
            let mut times = 0_u32;
            while Instant::now() < end {
                let lock = locker.lock("turn", LockOptions::from(LONG).wait(LONG)).await?;
                let lease = lock.granted().context("another program uses the locks of this measurement")?;
                work().await;
                locker.unlock("turn", &lease.token).await?;
                times += 1;
            }
            anyhow::Ok(times)
        });
    }
    while let Some(times) = running.join_next().await {
        hand_offs += times??;
    }
    let (after, each) = (native.load().await?, |load: u64| load as f64 / f64::from(hand_offs.max(1)));
    Ok((each(after.requests - before.requests), each(after.commands - before.commands)))
}
