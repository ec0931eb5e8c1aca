//! Rounds of `locker exec` that contend for one lock each, whose answers and messages come late, and whose runners, guardians and commands are stopped
//! and killed at random moments. No two commands of a round may run at a time, and none that is left alone may be stopped. On the local store, all
//! rounds share one store, and nothing comes late.
//!
//! - `plan`: what happens in a round, which the seed determines; `round`: how that is done.
//! - `store`: where the locks are; `bystander`: a client of the local store that is left alone.
//! - `work`: the command; `report`: what came of it.

mod bystander;
mod plan;
mod report;
mod round;
mod store;
mod work;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use tokio::task::JoinSet;

use crate::harness::Command;
use plan::{CONTENDERS, Plan};
use report::Report;
use store::{CacheKind, Store};
use work::Work;

/// Starts commands that contend for locks, disturbs them, and counts what must not be. Exits with 1 if there was any of it.
#[derive(Parser)]
#[command(name = "chaos", args_conflicts_with_subcommands = true)]
struct Args {
    #[command(flatten)]
    chaos: Chaos,
    #[command(subcommand)]
    command: Option<Role>,
}

#[derive(Subcommand)]
enum Role {
    /// Be one of the commands
    Work(Work),
}

#[derive(clap::Args)]
struct Chaos {
    /// The store of the locks
    #[arg(long, value_enum, default_value_t = CacheKind::Redis)]
    cache: CacheKind,

    /// How many commands to start
    #[arg(long, default_value_t = 1000)]
    starts: u64,

    /// What determines the plan. Real time cannot be repeated exactly [default: random]
    #[arg(long)]
    seed: Option<u64>,

    /// How many locks they contend for at a time
    #[arg(long, default_value_t = 48)]
    locks: usize,

    /// The program to try instead of the one that is built here
    #[arg(long, value_name = "FILE")]
    locker: Option<PathBuf>,
}

/// The program.
#[must_use]
pub fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(Role::Work(work)) = args.command {
        return work.run();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads can be started");
    let report = runtime.block_on(args.chaos.run());
    print!("{report}");
    ExitCode::from(u8::from(!report.violations.is_empty()))
}

/// What all rounds share.
struct World {
    store: Store,
    locker: PathBuf,
    work: PathBuf,
}

impl Chaos {
    async fn run(self) -> Report {
        let seed = self.seed.unwrap_or_else(|| fastrand::u64(..));
        eprintln!("chaos: seed {seed}");
        let store = Store::start(self.cache).await;
        let locker = self.locker.unwrap_or_else(|| Command::path("locker"));
        let world = Arc::new(World { store, locker, work: Command::path("chaos") });
        let watching = {
            let world = world.clone();
            tokio::spawn(async move { world.store.watch().await })
        };
        let (mut report, mut running, started) = (Report::default(), JoinSet::new(), Instant::now());
        for number in 0..self.starts.div_ceil(CONTENDERS as u64) {
            if running.len() >= self.locks {
                report.add(running.join_next().await.expect("some are running").expect("a round does not panic"));
            }
            running.spawn(round::run(world.clone(), Plan::new(seed, number, self.cache)));
            // A machine that starts all rounds at once is too busy to renew leases.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        running.join_all().await.into_iter().for_each(|outcome| report.add(outcome));
        watching.abort();
        report.violations.extend(world.store.violation().await);
        report.took = started.elapsed();
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case::redis(CacheKind::Redis)]
    #[case::local(CacheKind::Local)]
    #[tokio::test(flavor = "multi_thread")]
    async fn no_two_commands_run_at_a_time_and_none_is_stopped_for_nothing(#[case] cache: CacheKind) {
        let report = Chaos { cache, starts: 150, seed: None, locks: 50, locker: None }.run().await;
        assert!(report.violations.is_empty(), "{report}");
    }
}
