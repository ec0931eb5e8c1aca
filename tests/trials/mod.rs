//! Trials of quorums of real servers under faults, to be repeated as often as you like. A test runs each of them a few times.
//!
//! - `world`: the members of a trial, and their callers; `trial`: what is tried.

mod trial;
mod world;

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use tokio::task::{JoinSet, LocalSet};

pub(crate) use trial::Trial;

/// Repeats trials of quorums. Exits with 1 if one of them failed.
#[derive(Parser)]
#[command(name = "trials")]
struct Args {
    /// How often to repeat each trial
    #[arg(long, default_value_t = 100)]
    times: usize,

    /// How many to run at a time
    #[arg(long, default_value_t = 4)]
    workers: usize,

    /// The trials to repeat [default: all]
    trials: Vec<Trial>,
}

/// The program.
#[must_use]
pub fn main() -> ExitCode {
    let args = Args::parse();
    let trials = if args.trials.is_empty() { Trial::all() } else { args.trials.clone() };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let mut failed = 0;
    for trial in trials {
        let started = Instant::now();
        let failures = runtime.block_on(repeat(trial, args.times, args.workers));
        println!("{trial}: {} times, {} failed, {:.0?}", args.times, failures.len(), started.elapsed());
        for failure in failures.iter().take(5) {
            println!("  {failure}");
        }
        failed += failures.len();
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs a trial again and again, and returns what failed.
pub(crate) async fn repeat(trial: Trial, times: usize, workers: usize) -> Vec<String> {
    let (mut running, local) = (JoinSet::new(), LocalSet::new());
    for worker in 0..workers.min(times) {
        let times = times / workers.min(times) + usize::from(worker < times % workers.min(times));
        running.spawn_local_on(trial.repeat(times), &local);
    }
    local.run_until(running.join_all()).await.concat()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_quorum_passes_every_trial(
        #[values(
            Trial::LateWithdrawal,
            Trial::LateVote,
            Trial::SimultaneousCallers,
            Trial::RollingRestart,
            Trial::LostMajority,
            Trial::HangingMember
        )]
        trial: Trial,
    ) {
        let times = if trial == Trial::RollingRestart { 2 } else { 12 };
        assert_eq!(repeat(trial, times, 2).await, Vec::<String>::new());
    }
}
