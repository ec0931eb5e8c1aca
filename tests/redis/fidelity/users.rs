//! Users who may not do all that the scripts need.

use std::sync::Mutex;

use proptest::prelude::*;
use proptest::sample::subsequence;

use super::twin::Twin;
use super::{for_all, locks, runtime};

/// What a user has of the rule in docs/stores.md.
const RULE: &str = "~lock:* &lock:* +hello +ping +evalsha +script|load +exists +get +getrange +mget +set +del +pexpire +pttl +zadd +zrange +zrank +zrem +zscore +time +info +publish +pubsub|numsub +subscribe +unsubscribe";

/// What is taken from it.
const LIMITS: [&str; 26] = [
    "-evalsha",
    "-script|load",
    "-exists",
    "-get",
    "-getrange",
    "-mget",
    "-set",
    "-del",
    "-pexpire",
    "-pttl",
    "-zadd",
    "-zrange",
    "-zrank",
    "-zrem",
    "-zscore",
    "-time",
    "-info",
    "-publish",
    "-pubsub|numsub",
    "-pubsub",
    "-subscribe",
    "resetchannels",
    "resetkeys",
    "~lock:j*",
    "+@all",
    "-@all",
];

#[test]
fn a_user_is_refused_the_same_on_both_servers() {
    let twin = Mutex::new(runtime().block_on(Twin::start()));
    let limits = subsequence(LIMITS.to_vec(), 0..3);
    for_all(150, (limits, prop::collection::vec(locks::step(), 1..30)), |(limits, steps)| {
        let mut twin = twin.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        twin.reset();
        let rules: Vec<_> = RULE.split(' ').chain(limits).collect();
        twin.log_in(&[1, 2], &rules)?;
        steps.iter().try_for_each(|step| twin.take(step))?;
        twin.compare_messages()
    });
}
