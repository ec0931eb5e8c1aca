//! Worlds that are played from seeds.

use std::sync::Arc;

use locker_simulation::{Cast, Choices, ComparesThenDeletes, Size, campaign, failure_of, report, run, shrink};

#[test]
fn ten_thousand_seeds_hold() {
    let done = campaign(Cast::honest, Size::Wild, 0..10_000, |_| ()).unwrap();
    if let Some((seed, failure)) = done.failure {
        panic!("{}", report(&Cast::honest().unwrap(), Size::Wild, seed, &failure));
    }
    println!("{} worlds, {} steps", done.worlds, done.steps);
    assert_eq!(done.worlds, 10_000);
}

/// Events that must be common: worlds in which nothing happens would hold too.
const EVENTS: &[&str] = &[
    "is granted job",
    "is granted other",
    "is told that job is held",
    "does not learn whether it holds",
    "does not learn whether it released",
    "does not learn whether it extended",
    "has job for",
    "cannot extend job: no caller",
    "cannot extend job: another",
    "has released job",
    "has not released job: no caller",
    "has not released job: another",
    "guards, with fence: taken",
    "guards, with fence: refused",
    "loses its connection, and its request\n",
    "is answered, and loses its connection",
    "its request comes late",
    "sends its request twice",
    "does not get a message",
    "gets a message twice",
    "crashes",
    "loses its machine",
    "gives up its call",
    "is paused",
    "the server starts again, empty",
    "a replica takes over",
    "clock is set forward",
    ": late",
    ": queued behind",
    ": still queued behind",
    "the last step: stored",
    "the last step: occupied",
    ", again: stored",
    " ms: withdrawn",
    " has job with fence",
    "look at job",
    "with fence \n",
];

#[test]
fn all_events_happen() {
    let cast = Cast::honest().unwrap();
    let trace = |seed| run(&cast, Size::Wild, &mut Choices::seeded(seed), true).trace.join("\n") + "\n";
    let without_digits =
        |trace: String| trace.replace(|char: char| char.is_ascii_digit(), "").replace("fence :", "fence:");
    let traces: Vec<String> = (0..1000).map(|seed| without_digits(trace(seed))).collect();
    let worlds = |event: &str| traces.iter().filter(|trace| trace.contains(event)).count();
    let counts: Vec<(&str, usize)> = EVENTS.iter().map(|event| (*event, worlds(event))).collect();
    println!("{counts:#?}");
    let rare: Vec<_> = counts.iter().filter(|(_, worlds)| *worlds < 3).collect();
    assert!(rare.is_empty(), "{rare:?}");
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
    assert!(first.violation.is_some() && first.trace.len() > 3, "{first:?}");
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
