//! What happens in a round of commands.

use std::time::Duration;

use super::store::CacheKind;
use crate::harness::Fault;

/// Long enough for a busy machine, short enough to see leases end.
pub(super) const TTL: Duration = Duration::from_secs(5);

/// How many commands contend for a lock: one may be granted it while another believes in an old grant.
pub(super) const CONTENDERS: usize = 3;

/// What happens to the commands that contend for a lock.
pub(super) struct Plan {
    pub(super) number: u64,
    pub(super) starts: [Start; CONTENDERS],
}

/// What happens to one command.
#[derive(Clone, Debug)]
pub(super) struct Start {
    /// How long after the beginning it is started.
    pub(super) after: Duration,
    /// How long its work takes, and how it exits.
    pub(super) work: Duration,
    pub(super) code: u8,
    pub(super) late: Option<Fault>,
    pub(super) harm: Option<Harm>,
}

/// What is done to one process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Harm {
    pub(super) whom: Whom,
    pub(super) how: How,
    pub(super) when: When,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whom {
    Runner,
    Guardian,
    Command,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum How {
    Kill,
    /// Stops it for a time.
    Stop(Duration),
    /// Stops it for a time, and then kills it.
    StopAndKill(Duration),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum When {
    /// So long after the start.
    After(Duration),
    /// So long after the runner has its guardian, which is when its lock was granted.
    Granted(Duration),
}

impl Plan {
    pub(super) fn new(seed: u64, number: u64, cache: CacheKind) -> Self {
        let mut random = fastrand::Rng::with_seed(seed.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        let starts = std::array::from_fn(|_| Start::new(&mut random, cache));
        Self { number, starts }
    }
}

impl Start {
    fn new(random: &mut fastrand::Rng, cache: CacheKind) -> Self {
        let work = if random.bool() { millis(random, 500..8000) } else { millis(random, 0..200) };
        let late = (random.u8(0..3) == 0).then(|| late(random)).filter(|_| cache == CacheKind::Redis);
        let harm = (random.u8(0..2) == 0).then(|| Harm::new(random));
        Self { after: millis(random, 0..200), work, code: random.u8(0..64), late, harm }
    }

    /// Whether nothing happens to it that could stop its command.
    pub(super) fn is_left_alone(&self) -> bool {
        self.late.is_none() && self.harm.is_none_or(|harm| harm.whom == Whom::Guardian)
    }
}

fn late(random: &mut fastrand::Rng) -> Fault {
    // Often about as long as the lease.
    let time = if random.bool() { TTL - millis(random, 0..800) } else { millis(random, 50..9000) };
    if random.bool() { Fault::DelayAnswer("EVALSHA", time) } else { Fault::DelayMessage("message", time) }
}

impl Harm {
    fn new(random: &mut fastrand::Rng) -> Self {
        let whom = [Whom::Runner, Whom::Runner, Whom::Guardian, Whom::Command][random.usize(0..4)];
        let how = match random.u8(0..5) {
            0 | 1 => How::Kill,
            2 | 3 => How::Stop(millis(random, 1..10_000)),
            _ => How::StopAndKill(millis(random, 1..10_000)),
        };
        let when = match random.u8(0..5) {
            0 | 4 => When::After(millis(random, 0..400)),
            1 => When::Granted(millis(random, 0..6000)),
            // While the command starts.
            _ => When::Granted(Duration::from_micros(random.u64(0..15_000))),
        };
        Self { whom, how, when }
    }
}

fn millis(random: &mut fastrand::Rng, range: std::ops::Range<u64>) -> Duration {
    Duration::from_millis(random.u64(range))
}
