//! Worlds that are small enough to go through all of them.

use locker_simulation::{Cast, HostPlan, Small, explore_all, host_hand_offs, host_story, host_variants};
use rstest::rstest;

#[rstest]
#[case::one_caller_and_a_fault(Small::ALONE, 189)]
#[case::two_operations_each(Small::CALM, 14_866)]
#[case::an_attempt_each_and_a_fault(Small::SHORT, 159_914)]
#[case::two_operations_each_and_a_fault_while_all_are_prompt(Small::PROMPT, 165_664)]
#[case::two_waiters_and_a_fault_of_the_hand_off(Small::HAND_OFF, 136_173)]
fn every_interleaving_of_small_worlds_holds(#[case] small: Small, #[case] worlds: u64) {
    let explored = explore_all(Cast::honest, small, |_| ()).unwrap();
    println!("{small:?}: {} worlds, {} steps", explored.worlds, explored.steps);
    assert!(explored.failure.is_none(), "{}", explored.failure.unwrap().told());
    assert_eq!(explored.worlds, worlds, "the counts are exact, so that it shows when there is less to go through");
}

#[test]
fn whole_hosts_survive_each_fault_at_each_moment_of_a_hand_off() {
    let done = host_hand_offs(None, |_| ());
    if let Some((number, _)) = done.failure {
        panic!("{}", host_story(&HostPlan::hand_offs()[usize::try_from(number).unwrap()], None));
    }
    assert_eq!(done.worlds, 28_800, "the count is exact, so that it shows when there is less to go through");
}

#[rstest]
#[case("release_forgets_waiters")]
#[case("serves_the_last")]
#[case("hand_off_keeps_the_entry")]
#[case("hand_offs_are_not_told")]
#[case("withdrawal_leaves_the_entry")]
#[case("withdrawal_forgets_waiters")]
#[case("confirmation_moves_to_the_end")]
#[case("subscribes_later")]
fn a_broken_hand_off_is_caught_in_a_small_world(#[case] name: &str) {
    let variant = host_variants().find(|variant| variant.name == name);
    let (number, ended) = host_hand_offs(variant, |_| ()).failure.expect("it is not caught");
    println!("{name}: world {number}: {}", ended.violation.unwrap());
}
