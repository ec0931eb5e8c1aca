//! Locking and unlocking without contention.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use locker_host::{LockOptions, Locker};
use tokio::task::JoinSet;

use super::Store;
use super::native::Native;
use super::sample::{Row, Sample};

const TTL: Duration = Duration::from_secs(60);

/// One client, one pair after the other, ours and the native one in turns.
pub(super) async fn one_client(store: &Store, time: Duration) -> Result<Row> {
    let (locker, mut native) = (store.locker()?, store.native().await?);
    let (mut natives, mut ours) = (Sample::default(), Sample::default());
    // The first ones make connections, and teach the server the scripts.
    for _ in 0..100 {
        pair(&locker, "one").await?;
        native.pair("one").await?;
    }
    let end = Instant::now() + 2 * time;
    while Instant::now() < end {
        let started = Instant::now();
        native.pair("one").await?;
        natives.add(started.elapsed());
        let started = Instant::now();
        pair(&locker, "one").await?;
        ours.add(started.elapsed());
    }
    Ok(Row::times("one client, lock and unlock".to_owned(), natives, ours))
}

/// Many clients with connections and names of their own, ours and the native ones in turns.
pub(super) async fn many_clients(store: &Store, clients: usize, time: Duration) -> Result<Row> {
    const TURNS: u32 = 6;
    let (mut native_rate, mut our_rate) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        let (mut natives, mut ours) = (Vec::new(), Vec::new());
        for _ in 0..clients {
            natives.push(Client::Native(store.native().await?));
            ours.push(Client::Locker(store.locker()?));
        }
        native_rate.push(rate(natives, time / TURNS).await?);
        our_rate.push(rate(ours, time / TURNS).await?);
    }
    let what = format!("{clients} clients, lock and unlock");
    Ok(Row::rates(what, median(&mut native_rate), median(&mut our_rate)))
}

enum Client {
    Native(Native),
    Locker(Locker),
}

impl Client {
    async fn pair(&mut self, name: &str) -> Result<()> {
        match self {
            Self::Native(native) => native.pair(name).await,
            Self::Locker(locker) => pair(locker, name).await,
        }
    }

    /// Takes and releases its lock for some time, and answers how often in a second.
    async fn repeat(mut self, name: String, time: Duration) -> Result<f64> {
        // The first time makes a connection.
        self.pair(&name).await?;
        let (started, mut times) = (Instant::now(), 0_u32);
        while started.elapsed() < time {
            self.pair(&name).await?;
            times += 1;
        }
        Ok(f64::from(times) / started.elapsed().as_secs_f64())
    }
}

async fn rate(clients: Vec<Client>, time: Duration) -> Result<f64> {
    let clients = clients.into_iter().enumerate();
    let mut running: JoinSet<_> =
        clients.map(|(number, client)| client.repeat(format!("lock-{number}"), time)).collect();
    let mut sum = 0.0;
    while let Some(rate) = running.join_next().await {
        sum += rate??;
    }
    Ok(sum)
}

async fn pair(locker: &Locker, name: &str) -> Result<()> {
    let lock = locker.lock(name, LockOptions::from(TTL)).await?;
    let lease = lock.granted().context("another program uses the locks of this measurement")?;
    locker.unlock(name, &lease.token).await?;
    Ok(())
}

fn median(rates: &mut [f64]) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or(f64::NAN)
}
