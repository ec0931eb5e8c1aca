//! Runs the worlds of many seeds, on all cores.

use std::num::NonZero;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::choices::Choices;
use crate::run::{Cast, run};
use crate::script::Size;
use crate::shrink::{Failure, shrink};

/// What came of many seeds.
#[derive(Clone, Debug, Default)]
pub struct Campaign {
    /// How many worlds there were.
    pub worlds: u64,
    /// How many things happened in them.
    pub steps: u64,
    /// The lowest seed that failed among those that were run, and how.
    pub failure: Option<(u64, Failure)>,
}

/// The world of one seed.
pub fn failure_of(cast: &Cast, size: Size, seed: u64) -> (usize, Option<Failure>) {
    let mut choices = Choices::seeded(seed);
    let ended = run(cast, size, &mut choices, false);
    (ended.steps, ended.violation.is_some().then(|| Failure { sequence: choices.sequence(), ended }))
}

/// Runs the worlds of these seeds until one fails. `progress` is told of each batch that is done.
///
/// # Errors
/// If the component cannot be loaded.
pub fn campaign(
    cast: impl Fn() -> wasmtime::Result<Cast> + Sync,
    size: Size,
    seeds: std::ops::Range<u64>,
    progress: impl Fn(u64) + Sync,
) -> wasmtime::Result<Campaign> {
    const BATCH: u64 = 100;
    let (next, failed) = (AtomicU64::new(seeds.start), AtomicBool::new(false));
    let parts = on_all_cores(|_| -> wasmtime::Result<Campaign> {
        let (cast, mut part) = (cast()?, Campaign::default());
        loop {
            let first = next.fetch_add(BATCH, Ordering::Relaxed);
            if first >= seeds.end || failed.load(Ordering::Relaxed) {
                return Ok(part);
            }
            let batch = first..seeds.end.min(first + BATCH);
            progress(batch.end - batch.start);
            for seed in batch {
                let (steps, failure) = failure_of(&cast, size, seed);
                part.worlds += 1;
                part.steps += steps as u64;
                if let Some(failure) = failure {
                    failed.store(true, Ordering::Relaxed);
                    part.failure = Some((seed, failure));
                    return Ok(part);
                }
            }
        }
    });
    parts.into_iter().try_fold(Campaign::default(), |all, part| {
        let part = part?;
        let failures = all.failure.into_iter().chain(part.failure);
        Ok(Campaign {
            worlds: all.worlds + part.worlds,
            steps: all.steps + part.steps,
            failure: failures.min_by_key(|(seed, _)| *seed),
        })
    })
}

/// What to read and what to run when a seed has failed.
#[must_use]
pub fn report(cast: &Cast, size: Size, seed: u64, failure: &Failure) -> String {
    let shrunk = shrink(cast, size, failure);
    format!("seed {seed} fails\n{}replay it: cargo run --bin simulate -- --seed {seed}\n", shrunk.told())
}

impl Failure {
    /// What happened and what was wrong with it.
    #[must_use]
    pub fn told(&self) -> String {
        let mut told: String = self.ended.trace.iter().map(|line| format!("{line}\n")).collect();
        if let Some(violation) = &self.ended.violation {
            told += &format!("violated: {}: {}\n", violation.invariant, violation.what);
        }
        told
    }
}

/// What is counted in many worlds.
pub(crate) trait Counts<E>: Default + Send {
    /// Adds how a world ended, and says whether it failed.
    fn add(&mut self, seed: u64, ended: E) -> bool;

    /// What both counted.
    #[must_use]
    fn join(self, other: Self) -> Self;
}

/// Runs the worlds of these seeds in batches until one fails. `progress` is told of each batch.
pub(crate) fn seeds_on_all_cores<E, C: Counts<E>>(
    seeds: std::ops::Range<u64>,
    batch: u64,
    progress: impl Fn(u64) + Sync,
    run: impl Fn(u64) -> E + Sync,
) -> C {
    let (next, failed) = (AtomicU64::new(seeds.start), AtomicBool::new(false));
    let parts = on_all_cores(|_| {
        let mut part = C::default();
        loop {
            let first = next.fetch_add(batch, Ordering::Relaxed);
            if first >= seeds.end || failed.load(Ordering::Relaxed) {
                return part;
            }
            let batch = first..seeds.end.min(first + batch);
            progress(batch.end - batch.start);
            for seed in batch {
                if part.add(seed, run(seed)) {
                    failed.store(true, Ordering::Relaxed);
                    return part;
                }
            }
        }
    });
    parts.into_iter().fold(C::default(), C::join)
}

/// Does the same on as many threads as there are cores.
pub(crate) fn on_all_cores<T: Send>(work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores)
            .map(|core| {
                scope.spawn({
                    let work = &work;
                    move || work(core)
                })
            })
            .collect();
        let joined = threads.into_iter().map(std::thread::ScopedJoinHandle::join);
        joined.map(|done| done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    })
}
