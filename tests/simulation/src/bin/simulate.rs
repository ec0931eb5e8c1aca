//! `simulate`: runs the worlds of as many seeds as you like, or tells the story of one.

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use locker_simulation::{
    Cast, Choices, HostCampaign, HostPlan, Size, Small, campaign, explore_all, failure_of, host_campaign,
    host_hand_offs, host_report, host_story, host_variants, report, run, run_host, shrink,
};

/// Runs the lock's component in simulated worlds, in which everything that can go wrong does.
#[derive(Parser)]
#[command(name = "simulate")]
struct Args {
    /// How many seeds to run.
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Runs this seed only, and tells what happens; if it fails, also in the simplest world that fails alike.
    #[arg(long, conflicts_with_all = ["seeds", "from", "small"])]
    seed: Option<u64>,
    /// Goes through every small world instead: two callers that do not wait, one name, three operations each,
    /// one thing that goes wrong. This takes minutes.
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    small: bool,
    /// Runs worlds of whole hosts instead: lockers as they ship over servers that run the scripts as they ship. With `--small`, all worlds of
    /// a hand-off to two waiters in which one thing goes wrong.
    #[arg(long)]
    host: bool,
    /// Runs hosts and scripts that are broken on purpose, or the one of this name, and says how each is caught.
    #[arg(long, requires = "host", num_args = 0..=1, value_name = "NAME")]
    broken: Option<Option<String>>,
}

fn main() -> ExitCode {
    match simulate(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::from(70)
        }
    }
}

/// Whether all that must be so was so.
fn simulate(args: &Args) -> wasmtime::Result<bool> {
    let started = Instant::now();
    if let Some(seed) = args.seed {
        return if args.host { Ok(replay_host(seed)) } else { replay(seed) };
    }
    if args.small {
        return if args.host { Ok(hand_offs()) } else { small() };
    }
    if let Some(name) = &args.broken {
        return Ok(broken_hosts(name.as_deref(), &(args.from..args.from.saturating_add(args.seeds))));
    }
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} worlds, {per_sec}, {eta} left");
    let bar = ProgressBar::new(args.seeds).with_style(style.map_err(wasmtime::Error::from)?);
    let seeds = args.from..args.from.saturating_add(args.seeds);
    if args.host {
        let done = host_campaign(None, seeds, |worlds| bar.inc(worlds));
        bar.finish_and_clear();
        let HostCampaign { worlds, granted, failed, requests, losses, failure } = done;
        let took = started.elapsed();
        println!(
            "{worlds} worlds, {granted} grants, {failed} failed calls, {requests} requests, {losses} losses, {took:.1?}"
        );
        if let Some((seed, _)) = &failure {
            print!("{}", host_report(*seed, None));
        }
        return Ok(failure.is_none());
    }
    let done = campaign(Cast::honest, Size::Wild, seeds, |worlds| bar.inc(worlds))?;
    bar.finish_and_clear();
    println!("{} worlds, {} steps, {:.1?}", done.worlds, done.steps, started.elapsed());
    if let Some((seed, failure)) = &done.failure {
        print!("{}", report(&Cast::honest()?, Size::Wild, *seed, failure));
    }
    Ok(done.failure.is_none())
}

fn replay(seed: u64) -> wasmtime::Result<bool> {
    let cast = Cast::honest()?;
    let ended = run(&cast, Size::Wild, &mut Choices::seeded(seed), true);
    ended.trace.iter().for_each(|line| println!("{line}"));
    if let (_, Some(failure)) = failure_of(&cast, Size::Wild, seed) {
        println!("\nsimpler:\n");
        print!("{}", report(&cast, Size::Wild, seed, &failure));
        return Ok(false);
    }
    println!("all that must be so was so");
    Ok(true)
}

fn replay_host(seed: u64) -> bool {
    let ended = run_host(&HostPlan::of(seed), None, true);
    ended.trace.iter().for_each(|line| println!("{line}"));
    if let Some(violation) = &ended.violation {
        println!("violated: {violation}\n\nsimpler:\n\n{}", host_report(seed, None));
        return false;
    }
    println!("all that must be so was so");
    true
}

fn hand_offs() -> bool {
    let started = Instant::now();
    let done = host_hand_offs(None, |_| ());
    println!("{} worlds, {} requests, {:.1?}", done.worlds, done.requests, started.elapsed());
    if let Some((number, _)) = done.failure {
        let plan = usize::try_from(number).map(|number| HostPlan::hand_offs().swap_remove(number));
        print!("{}", plan.map(|plan| host_story(&plan, None)).unwrap_or_default());
        return false;
    }
    true
}

fn small() -> wasmtime::Result<bool> {
    let started = Instant::now();
    let done = std::sync::atomic::AtomicU64::new(0);
    let explored = explore_all(Cast::honest, Small::LONG, |worlds| {
        let before = done.fetch_add(worlds, std::sync::atomic::Ordering::Relaxed);
        eprintln!("{} worlds so far", before + worlds);
    })?;
    println!("{} worlds, {} steps, {:.1?}", explored.worlds, explored.steps, started.elapsed());
    if let Some(failure) = &explored.failure {
        print!("{}", shrink(&Cast::honest()?, Size::Small(Small::LONG), failure).told());
    }
    Ok(explored.failure.is_none())
}

/// Whether each host that is broken on purpose is caught.
fn broken_hosts(name: Option<&str>, seeds: &std::ops::Range<u64>) -> bool {
    let mut caught = true;
    for variant in host_variants().filter(|variant| name.is_none_or(|name| name == variant.name)) {
        let done = host_campaign(Some(variant), seeds.clone(), |_| ());
        let how = done.failure.and_then(|(seed, ended)| Some(format!("seed {seed}: {}", ended.violation?)));
        caught &= variant.applies() && how.is_some();
        println!("{}: {}", variant.name, how.as_deref().unwrap_or("not caught"));
    }
    caught
}
