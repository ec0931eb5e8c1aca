//! Worlds of a quorum over simulated members, and members with a flaw, of which each is caught.

use locker_simulation::{Flaw, Plan, quorum_campaign, quorum_report, run_quorum, shrink_quorum};
use rstest::rstest;

const SEEDS: u64 = 10_000;

#[test]
fn ten_thousand_worlds_of_a_quorum_hold() {
    let done = quorum_campaign(None, 0..SEEDS, |_| ());
    if let Some((seed, _)) = done.failure {
        panic!("{}", quorum_report(seed, None));
    }
    println!("{done:?}");
    assert_eq!(done.worlds, SEEDS);
    assert!(done.granted > SEEDS && done.failed > SEEDS / 10 && done.losses > SEEDS / 10);
}

/// Events that must be common: worlds in which nothing happens would hold too.
const EVENTS: &[&str] = &[
    "is told that",
    "drops its call",
    "fails: no caller had a majority",
    "holds job no longer",
    "extended, with",
    "crashes",
    ": lost",
    ": not received",
    ": late",
    ": withdrawn",
    ": outdated by",
    "vote again",
    "restore",
    "Partition",
    "Hang",
    "Slow",
    "is back",
    "is back, empty",
];

#[test]
fn all_events_happen_in_worlds_of_a_quorum() {
    let traces: Vec<String> = (0..1_000).map(|seed| run_quorum(&Plan::of(seed), None, true).trace.join("\n")).collect();
    let worlds = |event: &str| traces.iter().filter(|trace| trace.contains(event)).count();
    let counts: Vec<(&str, usize)> = EVENTS.iter().map(|event| (*event, worlds(event))).collect();
    println!("{counts:?}");
    let rare: Vec<_> = counts.iter().filter(|(_, worlds)| *worlds < 3).collect();
    assert!(rare.is_empty(), "{rare:?}");
}

#[rstest]
#[case::withdraws_any_revision(Flaw::WithdrawsAnyRevision)]
#[case::chooses_revisions(Flaw::ChoosesRevisions)]
#[case::extend_creates(Flaw::ExtendCreates)]
#[case::reports_others(Flaw::ReportsOthers)]
#[case::keeps_votes(Flaw::KeepsVotes)]
#[case::accepts_any_revision(Flaw::AcceptsAnyRevision)]
#[case::forgets_withdrawals(Flaw::ForgetsWithdrawals)]
#[case::lets_late_votes_in(Flaw::LetsLateVotesIn)]
#[case::expires_early(Flaw::ExpiresEarly)]
#[case::overwrites(Flaw::Overwrites)]
#[case::keeps_first_revision(Flaw::KeepsFirstRevision)]
#[case::restores_with_own_revision(Flaw::RestoresWithOwnRevision)]
fn a_flaw_of_members_is_caught(#[case] flaw: Flaw) {
    let done = quorum_campaign(Some(flaw), 0..SEEDS, |_| ());
    let (seed, ended) = done.failure.expect("it is not caught");
    println!("{flaw:?}: seed {seed}: {}", ended.violation.unwrap());
}

#[test]
fn a_seed_of_a_quorum_replays_exactly() {
    for seed in 0..300 {
        let play = || run_quorum(&Plan::of(seed), None, true);
        assert_eq!(play(), play());
    }
}

#[test]
fn a_failing_world_of_a_quorum_is_shrunk_and_told() {
    let flaw = Some(Flaw::Overwrites);
    let fails = |seed: &u64| run_quorum(&Plan::of(*seed), flaw, false).violation.is_some();
    let seed = (0..SEEDS).find(fails).unwrap();
    let violated = |plan: &Plan| run_quorum(plan, flaw, false).violation.unwrap().invariant;
    let (plan, shrunk) = (Plan::of(seed), shrink_quorum(&Plan::of(seed), flaw));
    assert!(violated(&plan) == violated(&shrunk) && plan != shrunk);
    let told = quorum_report(seed, flaw);
    assert!(told.contains("violated: ") && told.contains(&format!("--quorum --seed {seed}")), "{told}");
}
