//! Many worlds of whole hosts, on all cores.

use std::fmt::Write;
use std::ops::Range;

use super::plan::HostPlan;
use super::run::{HostEnded, run_host};
use super::shrink::shrink_host;
use super::variants::Variant;
use crate::campaign::{Counts, seeds_on_all_cores};

/// What came of many seeds.
#[derive(Clone, Debug, Default)]
pub struct HostCampaign {
    /// How many worlds there were.
    pub worlds: u64,
    /// How many grants there were in them.
    pub granted: usize,
    /// How many calls failed.
    pub failed: usize,
    /// How many requests servers were sent.
    pub requests: usize,
    /// How often data was lost, or a clock was set.
    pub losses: u64,
    /// The lowest seed that failed among those that were run, and how.
    pub failure: Option<(u64, HostEnded)>,
}

impl Counts<HostEnded> for HostCampaign {
    fn add(&mut self, seed: u64, ended: HostEnded) -> bool {
        self.worlds += 1;
        self.granted += ended.granted;
        self.failed += ended.failed;
        self.requests += ended.requests;
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
            requests: self.requests + other.requests,
            losses: self.losses + other.losses,
            failure: self.failure.into_iter().chain(other.failure).min_by_key(|(seed, _)| *seed),
        }
    }
}

/// Runs the worlds of these seeds until one fails. `progress` is told of each batch that is done.
pub fn host_campaign(variant: Option<&Variant>, seeds: Range<u64>, progress: impl Fn(u64) + Sync) -> HostCampaign {
    const BATCH: u64 = 5;
    seeds_on_all_cores(seeds, BATCH, progress, |seed| run_host(&HostPlan::of(seed), variant, false))
}

/// Runs all worlds of a hand-off until one fails. `progress` is told of each batch that is done.
pub fn host_hand_offs(variant: Option<&Variant>, progress: impl Fn(u64) + Sync) -> HostCampaign {
    const BATCH: u64 = 50;
    let plans = HostPlan::hand_offs();
    seeds_on_all_cores(0..plans.len() as u64, BATCH, progress, |number| {
        let plan = usize::try_from(number).ok().and_then(|number| plans.get(number));
        plan.map(|plan| run_host(plan, variant, false)).unwrap_or_default()
    })
}

/// What to read and what to run when a seed has failed.
#[must_use]
pub fn host_report(seed: u64, variant: Option<&Variant>) -> String {
    host_story(&HostPlan::of(seed), variant) + &format!("replay it: cargo run --bin simulate -- --host --seed {seed}\n")
}

/// The simplest world that fails as this one does, and what happens in it.
#[must_use]
pub fn host_story(plan: &HostPlan, variant: Option<&Variant>) -> String {
    let plan = shrink_host(plan, variant);
    let ended = run_host(&plan, variant, true);
    let mut report = format!("seed {} fails\n{plan:#?}\n", plan.seed);
    for line in &ended.trace {
        _ = writeln!(report, "{line}");
    }
    if let Some(violation) = &ended.violation {
        _ = writeln!(report, "violated: {violation}");
    }
    report
}
