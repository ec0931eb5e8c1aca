//! Many worlds of quorums, on all cores.

use std::fmt::Write;
use std::ops::Range;

use super::flaws::Flaw;
use super::plan::Plan;
use super::run::{QuorumEnded, run_quorum};
use super::shrink::shrink_quorum;
use crate::campaign::{Counts, seeds_on_all_cores};

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

impl Counts<QuorumEnded> for QuorumCampaign {
    fn add(&mut self, seed: u64, ended: QuorumEnded) -> bool {
        self.worlds += 1;
        self.granted += ended.granted as u64;
        self.failed += ended.failed as u64;
        self.losses += ended.losses;
        let failed = ended.violation.is_some();
        if failed {
            self.failure = Some((seed, ended));
        }
        failed
    }

    fn join(self, other: Self) -> Self {
        Self {
            worlds: self.worlds + other.worlds,
            granted: self.granted + other.granted,
            failed: self.failed + other.failed,
            losses: self.losses + other.losses,
            failure: self.failure.into_iter().chain(other.failure).min_by_key(|(seed, _)| *seed),
        }
    }
}

/// Runs the worlds of these seeds until one fails. `progress` is told of each batch that is done.
pub fn quorum_campaign(flaw: Option<Flaw>, seeds: Range<u64>, progress: impl Fn(u64) + Sync) -> QuorumCampaign {
    const BATCH: u64 = 20;
    seeds_on_all_cores(seeds, BATCH, progress, |seed| run_quorum(&Plan::of(seed), flaw, false))
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
