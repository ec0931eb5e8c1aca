//! Worlds that are played from seeds.

use std::sync::Arc;

use locker_simulation::{
    Cast, Choices, ComparesThenDeletes, Invariant, Size, campaign, failure_of, report, run, shrink,
};
use rstest::rstest;

#[test]
fn ten_thousand_seeds_hold() {
    let done = campaign(Cast::honest, Size::Wild, 0..10_000, |_| ()).unwrap();
    if let Some((seed, failure)) = done.failure {
        panic!("{}", report(&Cast::honest().unwrap(), Size::Wild, seed, &failure));
    }
    println!("{} worlds, {} steps", done.worlds, done.steps);
    assert_eq!(done.worlds, 10_000);
}

/// Worlds in which nothing happens would hold too.
#[rstest]
fn all_of_it_happens(
    #[values(
        "is granted job",
        "is granted other",
        "is told that job is held",
        "does not learn whether it holds",
        "does not learn whether it released",
        "does not learn whether it extended",
        "has job for",
        "cannot extend job: nobody",
        "cannot extend job: another",
        "has released job",
        "has not released job: nobody",
        "has not released job: another",
        "guards, with fence: taken",
        "guards, with fence: refused",
        "loses its connection, and what it has asked\n",
        "is answered, and loses its connection",
        "what it has asked comes late",
        "will be heard twice",
        "crashes",
        "gives up its call",
        "is paused",
        "will not be told that the lock is free",
        "starts again and knows nothing",
        "a replica takes over"
    )]
    what: &str,
) {
    let cast = Cast::honest().unwrap();
    let without_digits = |story: Vec<String>| {
        let told = story.join("\n") + "\n";
        told.replace(|char: char| char.is_ascii_digit(), "").replace("fence :", "fence:")
    };
    let happens = |seed| without_digits(run(&cast, Size::Wild, &mut Choices::seeded(seed), true).story).contains(what);
    assert!((0..1000).filter(|seed| happens(*seed)).count() >= 5);
}

/// A store that is broken, and the first seed that shows it.
fn failing() -> (Cast, u64) {
    let cast = Cast { rules: Arc::new(ComparesThenDeletes), ..Cast::honest().unwrap() };
    let seed = (0..).find(|seed| failure_of(&cast, Size::Wild, *seed).1.is_some()).unwrap();
    (cast, seed)
}

#[test]
fn a_failing_seed_replays_exactly() {
    let (cast, seed) = failing();
    let play = |mut choices: Choices| (run(&cast, Size::Wild, &mut choices, true), choices.sequence());
    let (first, sequence) = play(Choices::seeded(seed));
    assert!(first.violation.is_some() && first.story.len() > 3, "{first:?}");
    assert_eq!(play(Choices::seeded(seed)).0, first);
    assert_eq!(play(Choices::given(sequence)).0, first, "its choices are all there is to it");
}

#[test]
fn a_failing_seed_is_told_with_the_command_that_replays_it() {
    let (cast, seed) = failing();
    let told = report(&cast, Size::Wild, seed, &failure_of(&cast, Size::Wild, seed).1.unwrap());
    assert!(told.contains(&format!("simulate -- --seed {seed}")) && told.contains("violated: "), "{told}");
}

#[test]
fn a_failing_world_is_shrunk() {
    let (cast, seed) = failing();
    let failure = failure_of(&cast, Size::Wild, seed).1.unwrap();
    let shrunk = shrink(&cast, Size::Wild, &failure);
    println!("{} steps, then {}\n{}", failure.ended.steps, shrunk.ended.steps, shrunk.told());
    assert!(shrunk.sequence.len() < failure.sequence.len() && shrunk.ended.steps <= failure.ended.steps);
    assert_eq!(shrunk.ended.violation.unwrap().invariant, failure.ended.violation.unwrap().invariant);
}

/// A request that was given up can still arrive. If it asks for less time than one that was answered since, a lease ends
/// before its time, and no comparison of values can tell. So whoever extends to different times must not be in doubt
/// about an earlier request.
#[test]
fn a_late_request_for_less_time_is_more_than_a_lock_can_stand() {
    let cast = Cast::honest().unwrap();
    let failures = (0..20_000).filter_map(|seed| failure_of(&cast, Size::Lawless, seed).1);
    let ended_early = |violation| matches!(violation, Invariant::LeasesLast | Invariant::AtMostOneHolder);
    let failure = failures.into_iter().next().expect("it is found");
    let shrunk = shrink(&cast, Size::Lawless, &failure);
    println!("{}", shrunk.told());
    assert!(ended_early(shrunk.ended.violation.unwrap().invariant));
}
