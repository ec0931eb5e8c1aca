//! Many worlds of quorums, on all cores.

use std::fmt::Write;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::flaws::Flaw;
use super::plan::Plan;
use super::run::{QuorumEnded, run_quorum};
use super::shrink::shrink_quorum;
use crate::campaign::on_all_cores;

/// What came of many seeds.
#[derive(Clone, Debug, Default)]
pub struct QuorumCampaign {
    /// How many worlds there were.
    pub worlds: u64,
    /// How many grants there were in them.
    pub granted: u64,
    /// How many calls failed.
    pub failed: u64,
    /// How often a member lost its data.
    pub losses: u64,
    /// The lowest seed that failed among those that were run, and how.
    pub failure: Option<(u64, QuorumEnded)>,
}

/// Runs the worlds of these seeds until one fails. `progress` is told of each batch that is done.
pub fn quorum_campaign(flaw: Option<Flaw>, seeds: Range<u64>, progress: impl Fn(u64) + Sync) -> QuorumCampaign {
    const BATCH: u64 = 20;
    let (next, failed) = (AtomicU64::new(seeds.start), AtomicBool::new(false));
    let parts = on_all_cores(|_| {
        let mut part = QuorumCampaign::default();
        loop {
            let first = next.fetch_add(BATCH, Ordering::Relaxed);
            if first >= seeds.end || failed.load(Ordering::Relaxed) {
                return part;
            }
            let batch = first..seeds.end.min(first + BATCH);
            progress(batch.end - batch.start);
            for seed in batch {
                let ended = run_quorum(&Plan::of(seed), flaw, false);
                part.worlds += 1;
                part.granted += ended.granted as u64;
                part.failed += ended.failed as u64;
                part.losses += ended.losses;
                if ended.violation.is_some() {
                    failed.store(true, Ordering::Relaxed);
                    part.failure = Some((seed, ended));
                    return part;
                }
            }
        }
    });
    parts.into_iter().fold(QuorumCampaign::default(), |all, part| QuorumCampaign {
        worlds: all.worlds + part.worlds,
        granted: all.granted + part.granted,
        failed: all.failed + part.failed,
        losses: all.losses + part.losses,
        failure: all.failure.into_iter().chain(part.failure).min_by_key(|(seed, _)| *seed),
    })
}

/// What to read and what to run when a seed has failed.
#[must_use]
pub fn quorum_report(seed: u64, flaw: Option<Flaw>) -> String {
    let plan = shrink_quorum(&Plan::of(seed), flaw);
    let ended = run_quorum(&plan, flaw, true);
    let mut report = format!("seed {seed} fails\n{plan:#?}\n");
    for line in &ended.trace {
        _ = writeln!(report, "{line}");
    }
    if let Some(violation) = &ended.violation {
        _ = writeln!(report, "violated: {violation}");
    }
    report + &format!("replay it: cargo run --bin simulate -- --quorum --seed {seed}\n")
}
