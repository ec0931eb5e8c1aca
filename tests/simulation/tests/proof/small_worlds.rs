//! Worlds that are small enough to go through all of them.

use locker_simulation::{Cast, Small, explore_all};
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
