//! Stores, guests and hosts that are broken on purpose: each is caught, and its story is short.

use std::sync::Arc;

use locker_simulation::{
    Cast, ComparesPrefixes, ComparesThenDeletes, CountsOnly, ExpiresEarly, ExtendCreates, ExtendsAnything, Failure,
    ForgetsRevisions, Habits, Honest, Invariant, LooksAtTheClockOnly, Native, Overwrites, RefusesRepetition, Rules,
    SetsThenExpires, Size, Small, explore, failure_of, shrink,
};
use rstest::rstest;

/// As many seeds as it may take to catch what is broken.
const SEEDS: u64 = 2_000;
/// As many steps as a shrunk world may have.
const STEPS: usize = 25;

fn store(rules: impl Rules + 'static) -> Cast {
    Cast { rules: Arc::new(rules), ..Cast::honest().unwrap() }
}

fn guest(guest: Native) -> Cast {
    Cast { guest: Arc::new(guest), habits: Habits::default(), rules: Arc::new(Honest) }
}

fn host(habits: Habits) -> Cast {
    Cast { habits, ..Cast::honest().unwrap() }
}

/// Something among the seeds violates the invariant, and does so still when all is left out that can be.
fn assert_caught(cast: &Cast, invariant: Invariant) {
    let failures = (0..SEEDS).filter_map(|seed| failure_of(cast, Size::Wild, seed).1);
    let violates = |failure: &Failure| failure.ended.violation.as_ref().unwrap().invariant == invariant;
    let failure = failures.into_iter().find(violates).expect("it is not caught");
    let shrunk = shrink(cast, Size::Wild, &failure);
    println!("{} steps\n{}", shrunk.ended.steps, shrunk.told());
    assert!(violates(&shrunk) && shrunk.ended.steps <= STEPS);
}

#[rstest]
#[case::compares_then_deletes(store(ComparesThenDeletes), Invariant::ReleasesRemoveOnlyTheirOwn)]
#[case::compares_prefixes(store(ComparesPrefixes), Invariant::ReleasesRemoveOnlyTheirOwn)]
#[case::overwrites(store(Overwrites), Invariant::ReleasesRemoveOnlyTheirOwn)]
#[case::refuses_repetition(store(RefusesRepetition), Invariant::NobodyRefusesItself)]
#[case::sets_then_expires(store(SetsThenExpires), Invariant::NothingOutlivesItsTime)]
#[case::expires_early(store(ExpiresEarly), Invariant::LeasesLast)]
#[case::forgets_revisions(store(ForgetsRevisions), Invariant::FencesRise)]
#[case::counts_only(store(CountsOnly), Invariant::FencesRise)]
#[case::looks_at_the_clock_only(store(LooksAtTheClockOnly), Invariant::FencesRise)]
#[case::extend_creates(store(ExtendCreates), Invariant::ExtensionsCreateNothing)]
#[case::extends_anything(store(ExtendsAnything), Invariant::ExtensionsTellTheTruth)]
fn a_broken_store_is_caught(#[case] cast: Cast, #[case] invariant: Invariant) {
    assert_caught(&cast, invariant);
}

#[rstest]
#[case(Native::RetriesWithANewToken, Invariant::NobodyRefusesItself)]
#[case(Native::TakesALabelForAToken, Invariant::AtMostOneHolder)]
#[case(Native::ReleasesByPrefix, Invariant::ReleasesRemoveOnlyTheirOwn)]
#[case(Native::ReleasesAnything, Invariant::ReleasesRemoveOnlyTheirOwn)]
#[case(Native::AlwaysReleased, Invariant::ReleasesTellTheTruth)]
#[case(Native::ExtendTakes, Invariant::ExtensionsCreateNothing)]
#[case(Native::AlwaysExtended, Invariant::ExtensionsTellTheTruth)]
#[case(Native::AlwaysExtended, Invariant::NoOlderWrite)]
#[case(Native::FenceFromTheWallClock, Invariant::FencesRise)]
#[case(Native::WaitsForEver, Invariant::EveryCallEnds)]
#[case(Native::WaitsOnce, Invariant::NobodyGivesUpEarly)]
#[case(Native::Polls, Invariant::EveryCallEnds)]
#[case(Native::TellsTokens, Invariant::TokensStaySecret)]
#[case(Native::HoldsTwiceAsLong, Invariant::NothingOutlivesItsTime)]
#[case(Native::AlwaysHeld, Invariant::HoldersAreReal)]
fn a_broken_guest_is_caught(#[case] broken: Native, #[case] invariant: Invariant) {
    assert_caught(&guest(broken), invariant);
}

#[rstest]
#[case::from_the_answer(Habits { counts_from_the_answer: true, ..Habits::default() }, Invariant::LeasesLast)]
#[case::nothing_back(Habits { gives_nothing_back: true, ..Habits::default() }, Invariant::FailedCallsLeaveNothing)]
#[case::forgets(Habits { forgets_that_it_asked: true, ..Habits::default() }, Invariant::ReleasesTellTheTruth)]
fn a_broken_host_is_caught(#[case] habits: Habits, #[case] invariant: Invariant) {
    assert_caught(&host(habits), invariant);
}

/// What is caught is what was broken: the rest of it is as good as the component.
#[test]
fn the_same_guest_in_plain_rust_holds_while_it_is_not_broken() {
    let cast = guest(Native::Honest);
    assert!((0..SEEDS).all(|seed| failure_of(&cast, Size::Wild, seed).1.is_none()));
}

#[rstest]
#[case::compares_then_deletes(store(ComparesThenDeletes))]
#[case::compares_prefixes(store(ComparesPrefixes))]
#[case::overwrites(store(Overwrites))]
#[case::refuses_repetition(store(RefusesRepetition))]
#[case::sets_then_expires(store(SetsThenExpires))]
#[case::forgets_revisions(store(ForgetsRevisions))]
#[case::counts_only(store(CountsOnly))]
#[case::extend_creates(store(ExtendCreates))]
#[case::takes_a_label_for_a_token(guest(Native::TakesALabelForAToken))]
#[case::releases_by_prefix(guest(Native::ReleasesByPrefix))]
#[case::extend_takes(guest(Native::ExtendTakes))]
#[case::fence_from_the_wall_clock(guest(Native::FenceFromTheWallClock))]
#[case::waits_once(guest(Native::WaitsOnce))]
fn a_small_world_is_enough_to_catch_it(#[case] cast: Cast) {
    let explored = explore(&cast, Small::PROMPT, &[]);
    let failure = explored.failure.expect("it is not caught");
    println!("world {}\n{}", explored.worlds, shrink(&cast, Size::Small(Small::PROMPT), &failure).told());
}
