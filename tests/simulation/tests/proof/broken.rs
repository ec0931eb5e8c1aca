//! Stores, guests and hosts that are broken on purpose: each is caught, and its trace is short.

use std::collections::BTreeMap;
use std::sync::Arc;

use locker_simulation::{
    AnnouncesFirst, Cast, ComparesPrefixes, ComparesThenDeletes, CountsOnly, DropsTheCaller, DropsTheFirst,
    ExpiresEarly, ExtendCreates, ExtendsAnything, Failure, ForgetsFences, GuestVariant, HandsOffToTheDead, HasNoGrace,
    Honest, HostBugs, IgnoresReports, IgnoresUseBy, Invariant, KeepsEntries, LeavesNoMark, LetsAttemptsOvertake,
    Overwrites, RefusesRepetition, RepeatsFences, RepeatsUnmarked, Rules, ServesTheLast, SetsThenExpires, Size, Small,
    UsesTheClockOnly, WithdrawsAnything, explore, failure_of, shrink,
};
use rstest::rstest;

/// As many seeds as it may take to catch a variant.
const SEEDS: u64 = 10_000;
/// As many steps as a shrunk world may have: a wait takes many reports.
const STEPS: usize = 150;

fn store(rules: impl Rules + 'static) -> Cast {
    Cast { rules: Arc::new(rules), ..Cast::honest().unwrap() }
}

fn guest(guest: GuestVariant) -> Cast {
    Cast { guest: Arc::new(guest), bugs: HostBugs::default(), rules: Arc::new(Honest) }
}

fn host(bugs: HostBugs) -> Cast {
    Cast { bugs, ..Cast::honest().unwrap() }
}

/// A seed violates the invariant, and does so still when all is left out that can be.
fn assert_caught(cast: &Cast, invariant: Invariant) {
    let (mut others, violated) =
        (BTreeMap::new(), |failure: &Failure| failure.ended.violation.clone().unwrap().invariant);
    for seed in 0..SEEDS {
        let Some(failure) = failure_of(cast, Size::Wild, seed).1 else { continue };
        if violated(&failure) == invariant {
            let shrunk = shrink(cast, Size::Wild, &failure);
            println!("seed {seed}, {} steps\n{}", shrunk.ended.steps, shrunk.told());
            assert!(violated(&shrunk) == invariant && shrunk.ended.steps <= STEPS);
            return;
        }
        *others.entry(violated(&failure)).or_insert(0) += 1;
    }
    panic!("it is not caught; other violations: {others:?}");
}

#[rstest]
#[case::compares_then_deletes(store(ComparesThenDeletes), Invariant::ReleasesRemoveOnlyTheirOwn)]
#[case::compares_prefixes(store(ComparesPrefixes), Invariant::ReleasesRemoveOnlyTheirOwn)]
#[case::overwrites(store(Overwrites), Invariant::ReleasesRemoveOnlyTheirOwn)]
#[case::refuses_repetition(store(RefusesRepetition), Invariant::NoCallRefusesItself)]
#[case::sets_then_expires(store(SetsThenExpires), Invariant::NothingOutlivesItsTime)]
#[case::expires_early(store(ExpiresEarly), Invariant::LeasesLast)]
#[case::forgets_fences(store(ForgetsFences), Invariant::FencesNeverRepeat)]
#[case::counts_only(store(CountsOnly), Invariant::FencesRise)]
#[case::uses_the_clock_only(store(UsesTheClockOnly), Invariant::FencesNeverRepeat)]
#[case::extend_creates(store(ExtendCreates), Invariant::OnlyLocksTakeLocks)]
#[case::extends_anything(store(ExtendsAnything), Invariant::ExtensionsTellTheTruth)]
#[case::ignores_use_by(store(IgnoresUseBy), Invariant::NothingHappensLate)]
#[case::leaves_no_mark(store(LeavesNoMark), Invariant::WithdrawnStaysWithdrawn)]
#[case::repeats_unmarked(store(RepeatsUnmarked), Invariant::FailedCallsLeaveNothing)]
#[case::withdraws_anything(store(WithdrawsAnything), Invariant::ReleasesRemoveOnlyTheirOwn)]
fn a_broken_store_is_caught(#[case] cast: Cast, #[case] invariant: Invariant) {
    assert_caught(&cast, invariant);
}

#[rstest]
#[case::serves_the_last(ServesTheLast, Invariant::FirstComeFirstServed)]
#[case::drops_the_first(DropsTheFirst, Invariant::NoWaiterIsDropped)]
#[case::has_no_grace(HasNoGrace, Invariant::NoWaiterIsDropped)]
#[case::lets_attempts_overtake(LetsAttemptsOvertake, Invariant::AttemptsOvertakeNoWaiter)]
#[case::hands_off_to_the_dead(HandsOffToTheDead, Invariant::DeadWaitersCostOneLease)]
#[case::repeats_fences(RepeatsFences, Invariant::FencesNeverRepeat)]
#[case::keeps_entries(KeepsEntries, Invariant::EntriesEndWithTheirCallers)]
#[case::ignores_reports(IgnoresReports, Invariant::NoWaiterIsForgotten)]
#[case::announces_first(AnnouncesFirst, Invariant::LeasesLast)]
fn a_broken_queue_is_caught(#[case] rules: impl Rules + 'static, #[case] invariant: Invariant) {
    assert_caught(&store(rules), invariant);
}

#[rstest]
#[case(GuestVariant::RetriesWithANewToken, Invariant::NoCallRefusesItself)]
#[case(GuestVariant::TakesALabelForAToken, Invariant::AtMostOneHolder)]
#[case(GuestVariant::ReleasesByPrefix, Invariant::ReleasesRemoveOnlyTheirOwn)]
#[case(GuestVariant::ReleasesAnything, Invariant::ReleasesRemoveOnlyTheirOwn)]
#[case(GuestVariant::AlwaysReleased, Invariant::ReleasesTellTheTruth)]
#[case(GuestVariant::ExtendTakes, Invariant::OnlyLocksTakeLocks)]
#[case(GuestVariant::AlwaysExtended, Invariant::ExtensionsTellTheTruth)]
#[case(GuestVariant::FenceFromTheWallClock, Invariant::FencesRise)]
#[case(GuestVariant::WaitsForEver, Invariant::EveryCallEnds)]
#[case(GuestVariant::WaitsForHalf, Invariant::NoCallGivesUpEarly)]
#[case(GuestVariant::Polls, Invariant::EveryCallEnds)]
#[case(GuestVariant::TellsTokens, Invariant::TokensStaySecret)]
#[case(GuestVariant::HoldsTwiceAsLong, Invariant::NothingOutlivesItsTime)]
#[case(GuestVariant::AlwaysHeld, Invariant::HoldersAreReal)]
fn a_broken_guest_is_caught(#[case] broken: GuestVariant, #[case] invariant: Invariant) {
    assert_caught(&guest(broken), invariant);
}

#[rstest]
#[case::reply(HostBugs { counts_from_the_reply: true, ..HostBugs::default() }, Invariant::LeasesLast)]
#[case::nothing(HostBugs { withdraws_nothing: true, ..HostBugs::default() }, Invariant::FailedCallsLeaveNothing)]
#[case::forgets(HostBugs { forgets_the_first_attempt: true, ..HostBugs::default() }, Invariant::ReleasesTellTheTruth)]
#[case::drops(HostBugs { drops_a_fresh_grant: true, ..HostBugs::default() }, Invariant::NoCallRefusesItself)]
#[case::fences(HostBugs { writes_without_a_fence: true, ..HostBugs::default() }, Invariant::NoOlderWrite)]
#[case::answered(HostBugs { withdraws_what_was_answered: true, ..HostBugs::default() }, Invariant::LeasesLast)]
#[case::messages(HostBugs { trusts_messages_to_arrive: true, ..HostBugs::default() }, Invariant::NoWaiterIsForgotten)]
#[case::clock(HostBugs { trusts_any_clock: true, ..HostBugs::default() }, Invariant::LeasesLast)]
fn a_broken_host_is_caught(#[case] bugs: HostBugs, #[case] invariant: Invariant) {
    assert_caught(&host(bugs), invariant);
}

/// The variants are caught for their one difference: the rest of them is as good as the component.
#[test]
fn the_same_guest_in_plain_rust_holds_while_it_is_not_broken() {
    let cast = guest(GuestVariant::Honest);
    assert!((0..2_000).all(|seed| failure_of(&cast, Size::Wild, seed).1.is_none()));
}

#[rstest]
#[case::compares_then_deletes(store(ComparesThenDeletes))]
#[case::compares_prefixes(store(ComparesPrefixes))]
#[case::overwrites(store(Overwrites))]
#[case::refuses_repetition(store(RefusesRepetition))]
#[case::sets_then_expires(store(SetsThenExpires))]
#[case::forgets_fences(store(ForgetsFences))]
#[case::counts_only(store(CountsOnly))]
#[case::extend_creates(store(ExtendCreates))]
#[case::takes_a_label_for_a_token(guest(GuestVariant::TakesALabelForAToken))]
#[case::releases_by_prefix(guest(GuestVariant::ReleasesByPrefix))]
#[case::extend_takes(guest(GuestVariant::ExtendTakes))]
#[case::fence_from_the_wall_clock(guest(GuestVariant::FenceFromTheWallClock))]
#[case::waits_for_half(guest(GuestVariant::WaitsForHalf))]
fn a_small_world_is_enough_to_catch_it(#[case] cast: Cast) {
    assert_caught_in(&cast, Small::PROMPT);
}

#[rstest]
#[case::serves_the_last(store(ServesTheLast))]
#[case::has_no_grace(store(HasNoGrace))]
#[case::drops_the_caller(store(DropsTheCaller))]
#[case::hands_off_to_the_dead(store(HandsOffToTheDead))]
#[case::repeats_fences(store(RepeatsFences))]
#[case::keeps_entries(store(KeepsEntries))]
#[case::announces_first(store(AnnouncesFirst))]
fn a_small_hand_off_is_enough_to_catch_it(#[case] cast: Cast) {
    assert_caught_in(&cast, Small::HAND_OFF);
}

/// A shorter extension of which another attempt was answered may still come late.
#[test]
fn a_small_world_of_one_caller_is_enough_to_catch_a_late_extension() {
    assert_caught_in(&host(HostBugs { ignores_late_extensions: true, ..HostBugs::default() }), Small::ALONE);
}

fn assert_caught_in(cast: &Cast, small: Small) {
    let failure = explore(cast, small, &[]);
    let worlds = failure.worlds;
    let failure = failure.failure.expect("it is not caught");
    println!("world {worlds}\n{}", shrink(cast, Size::Small(small), &failure).told());
}
