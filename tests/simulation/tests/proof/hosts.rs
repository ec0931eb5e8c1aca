//! Worlds of whole hosts, and hosts and scripts that are broken on purpose, of which each is caught.

use locker_simulation::{HostPlan, host_campaign, host_report, host_variants, run_host, shrink_host};

const SEEDS: u64 = 3_000;
/// As many seeds as it may take to catch a variant.
const BROKEN_SEEDS: u64 = 8_000;

#[test]
fn thousands_of_worlds_of_whole_hosts_hold() {
    let done = host_campaign(None, 0..SEEDS, |_| ());
    if let Some((seed, _)) = done.failure {
        panic!("{}", host_report(seed, None));
    }
    println!("{done:?}");
    assert_eq!(done.worlds, SEEDS);
    assert!(done.granted as u64 > 5 * SEEDS && done.failed as u64 > SEEDS / 10 && done.losses > SEEDS / 10);
}

/// Events that must be common: worlds in which nothing happens would hold too.
const EVENTS: &[&str] = &[
    "is told that",
    "is dropped",
    "crashes",
    "lost job",
    "fails: ",
    " withdrawn\n",
    " late\n",
    "hangs for",
    "is disconnected",
    "Stop",
    "CutAll",
    "Restart { empty: true }",
    "Restart { empty: false }",
    "FlushScripts",
    "SetClock",
    "FailOver",
    "Busy",
    "Loading",
    "Full",
    "Evict",
    "Refuse",
    "Move",
    "WAIT",
    "vote",
    "restore",
    "withdraw_vote",
    "outdated",
    ": Moved",
    ": Ask",
];

#[test]
fn all_events_happen_in_worlds_of_whole_hosts() {
    let traces: Vec<String> = (0..300).map(|seed| run_host(&HostPlan::of(seed), None, true).trace.join("\n")).collect();
    let worlds = |event: &str| traces.iter().filter(|trace| trace.contains(event)).count();
    let counts: Vec<(&str, usize)> = EVENTS.iter().map(|event| (*event, worlds(event))).collect();
    println!("{counts:?}");
    let rare: Vec<_> = counts.iter().filter(|(_, worlds)| *worlds < 3).collect();
    assert!(rare.is_empty(), "{rare:?}");
}

#[test]
fn hosts_and_scripts_that_are_broken_are_caught() {
    let mut missed = Vec::new();
    for variant in host_variants() {
        assert!(variant.applies(), "{}: there is nothing to break", variant.name);
        match host_campaign(Some(variant), 0..BROKEN_SEEDS, |_| ()).failure {
            Some((seed, ended)) => println!("{}: seed {seed}: {}", variant.name, ended.violation.unwrap()),
            None => missed.push(variant.name),
        }
    }
    assert!(missed.is_empty(), "not caught: {missed:?}");
    assert!(host_variants().count() >= 30);
}

#[test]
fn a_seed_of_a_whole_host_replays_exactly() {
    for seed in 0..100 {
        let play = || run_host(&HostPlan::of(seed), None, true);
        assert_eq!(play(), play(), "seed {seed}");
    }
}

#[test]
fn a_failing_world_of_a_whole_host_is_shrunk_and_told() {
    let variant = host_variants().find(|variant| variant.name == "serves_the_last");
    let seed = host_campaign(variant, 0..BROKEN_SEEDS, |_| ()).failure.unwrap().0;
    let violated = |plan: &HostPlan| run_host(plan, variant, false).violation.unwrap().invariant;
    let (plan, shrunk) = (HostPlan::of(seed), shrink_host(&HostPlan::of(seed), variant));
    assert!(violated(&plan) == violated(&shrunk) && plan != shrunk);
    let told = host_report(seed, variant);
    assert!(told.contains("violated: ") && told.contains(&format!("--host --seed {seed}")), "{told}");
}
