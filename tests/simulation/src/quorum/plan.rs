//! What a world consists of. It follows from the seed, and leaving out parts of it does not change the rest.

use super::kinds;

/// One world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub(crate) seed: u64,
    pub(crate) kind: Kind,
    /// The clocks of the members.
    pub(crate) clocks: Vec<MemberClock>,
    /// Whether all keys of a member have one fence counter, as in Redis those of one slot.
    pub(crate) shared_counter: bool,
    /// Whether requests that write have a latest time of effect.
    pub(crate) use_by: bool,
    /// For how long the quorum waits for a member.
    pub(crate) timeout_ms: u64,
    pub(crate) link: LinkHabits,
    pub(crate) faults: Vec<Fault>,
    pub(crate) processes: Vec<Process>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Anything happens.
    Chaos,
    /// All is healthy, and many callers want a free lock at the same time.
    Contention,
    /// All links are healthy, and the members start again empty, one after the other.
    Rolling,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MemberClock {
    pub(crate) offset_micros: u64,
    /// How much faster than others it is, in millionths.
    pub(crate) drift: i64,
}

/// What requests suffer on their way. Odds are of a thousand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LinkHabits {
    pub(crate) latency_ms: u64,
    pub(crate) delayed: u64,
    pub(crate) lost: u64,
    pub(crate) repeated: u64,
    pub(crate) reply_lost: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) from_ms: u64,
    pub(crate) for_ms: u64,
    pub(crate) what: FaultKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// Nothing passes between a process and a member.
    Partition { process: usize, member: usize },
    /// The member is away. It comes back with its data, or without it, if a majority of the others has confirmed all that it had.
    Down { member: usize, empty: bool },
    /// The member answers later.
    Hang { member: usize },
    /// All requests to the member are delayed.
    Slow { member: usize },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    /// How much its wall clock is ahead of the slowest one.
    pub(crate) ahead_micros: u64,
    pub(crate) callers: Vec<Vec<Step>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Pause { ms: u64 },
    Get { key: usize },
    Lock(Attempt),
}

/// A caller that wants a lock, and what it does with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    pub(crate) key: usize,
    pub(crate) ttl_ms: u64,
    pub(crate) wait_ms: u64,
    /// When the caller drops its call.
    pub(crate) drops_after_ms: Option<u64>,
    /// How often it repeats a call with the same value while another caller has the lock.
    pub(crate) retries: u32,
    pub(crate) hold_ms: u64,
    pub(crate) renews: bool,
    /// Whether it repeats the call while it holds the lock.
    pub(crate) repeats: bool,
    pub(crate) ends: Ends,
    /// Whether the lease must not be lost.
    pub(crate) survives: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ends {
    Releases,
    Expires,
    Crashes,
}

impl Plan {
    /// The world of a seed.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        kinds::plan(seed)
    }

    pub(crate) fn majority(&self) -> usize {
        self.clocks.len() / 2 + 1
    }

    /// The longest time to live of a lock.
    pub(crate) fn max_ttl_ms(&self) -> u64 {
        let steps = self.processes.iter().flat_map(|process| process.callers.iter().flatten());
        steps.map(|step| if let Step::Lock(attempt) = step { attempt.ttl_ms } else { 0 }).max().unwrap_or(0)
    }
}

/// The name of a key.
pub(crate) fn key_name(key: usize) -> &'static str {
    ["job", "other"][key]
}

/// A number that depends on all of these.
pub(crate) fn mixed(parts: &[u64]) -> u64 {
    parts.iter().fold(0x9e37_79b9_7f4a_7c15, |mixed, part| fastrand::Rng::with_seed(mixed ^ part).u64(..))
}
