//! A replica.

use std::sync::Mutex;
use std::time::Instant;

use proptest::prelude::*;

use super::twin::Twin;
use super::{CLIENTS, Step, for_all, locks, runtime, words};
use crate::harness::{LONG, RedisServer};

struct Pair {
    primary: Twin,
    replica: Twin,
}

impl Pair {
    async fn start() -> Self {
        let (primary, replica) = (RedisServer::start().await, RedisServer::start().await);
        replica.follow(&primary).await;
        Self { primary: Twin::of(primary), replica: Twin::of(replica) }
    }

    fn reset(&mut self) {
        self.primary.reset();
        self.replica.reset();
        self.replica.simulated.follow(&mut self.primary.simulated);
    }

    /// Lets the replica know all that its primary does.
    fn synchronize(&mut self) {
        let (end, started) = (self.primary.offset("master_repl_offset:"), Instant::now());
        while self.replica.offset("slave_repl_offset:") < end {
            assert!(started.elapsed() < LONG / 2, "the replica does not catch up");
        }
        self.replica.simulated.catch_up(&mut self.primary.simulated);
        self.replica.collect_messages();
    }

    fn take(&mut self, on_replica: bool, step: &Step) -> Result<(), String> {
        if !on_replica {
            return self.primary.take(step);
        }
        self.synchronize();
        self.replica.take(step)
    }
}

fn publication() -> impl Strategy<Value = Step> {
    (0..CLIENTS).prop_map(|client| Step::Call { client, words: words(&["PUBLISH", "news", "hot"]) })
}

fn subscription() -> impl Strategy<Value = Step> {
    (0..CLIENTS).prop_map(|client| Step::Call { client, words: words(&["SUBSCRIBE", "news"]) })
}

#[test]
fn a_replica_does_the_same_on_both_servers() {
    let pair = Mutex::new(runtime().block_on(Pair::start()));
    let step = prop_oneof![8 => locks::step(), 1 => publication(), 1 => subscription()];
    let steps = prop::collection::vec((prop::bool::weighted(0.4), step), 1..30);
    for_all(50, steps, |steps| {
        let mut pair = pair.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        pair.reset();
        steps.iter().try_for_each(|(on_replica, step)| pair.take(*on_replica, step))?;
        pair.synchronize();
        pair.primary.compare_messages()?;
        pair.replica.compare_messages()
    });
}
