//! What a world consists of. It follows from the seed, and leaving out parts of it does not change the rest.

use locker_simulated_redis::Version;

use super::{hand_offs, kinds};

/// One world of whole hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPlan {
    pub(crate) seed: u64,
    pub(crate) topology: Topology,
    /// The clocks of the sites: there is one of each.
    pub(crate) clocks: Vec<Clock>,
    pub(crate) version: Version,
    /// Whether a replica follows the server, with a lag.
    pub(crate) lag_ms: Option<u64>,
    /// Whether a lock counts only once the replica has confirmed it.
    pub(crate) waits_for_replica: bool,
    /// How much the replica's clock is ahead of the server's.
    pub(crate) replica_ahead_micros: u64,
    pub(crate) network: Habits,
    pub(crate) faults: Vec<Fault>,
    pub(crate) processes: Vec<Process>,
}

/// How the sites of a world make a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Topology {
    /// There is one server, perhaps with a replica.
    One,
    /// A majority of servers decides.
    Quorum,
    /// Servers divide the slots.
    Cluster,
}

/// A server's clock, compared with the time of the world.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Clock {
    pub(crate) ahead_micros: i64,
    /// How much faster it is, in millionths.
    pub(crate) drift: i64,
}

/// What requests suffer on their way. Odds are of a thousand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Habits {
    pub(crate) latency_ms: u64,
    /// The connection is slow for a while.
    pub(crate) delayed: u64,
    /// The connection breaks as a request is sent.
    pub(crate) broken: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The site that it happens to.
    pub(crate) site: usize,
    pub(crate) from_ms: u64,
    pub(crate) for_ms: u64,
    pub(crate) what: FaultKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// The connection of a process breaks. What was sent arrives when the fault ends, and only then the server notices.
    Break { process: usize },
    /// Nothing passes on the connection of a process.
    Hang { process: usize },
    /// The server answers nothing.
    Stop,
    /// The server ends all connections.
    CutAll,
    /// The server is killed and starts again, with its data or without.
    Restart { empty: bool },
    /// The server forgets its scripts.
    FlushScripts,
    /// The server's clock is set forward or back.
    SetClock { by_ms: i64 },
    /// The replica takes over.
    FailOver,
    /// The server is busy with a script of another client.
    Busy,
    /// The server loads its data.
    Loading,
    /// The server has no memory for more.
    Full,
    /// The server evicts the lock with this number.
    Evict { name: usize },
    /// The user may not publish.
    Refuse,
    /// The slot of the lock with this number moves to another node.
    Move { name: usize },
    /// A process does nothing any more.
    Crash { process: usize },
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) callers: Vec<Vec<Step>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Pause {
        ms: u64,
    },
    Inspect {
        name: usize,
    },
    Lock(Attempt),
    /// Takes the lock from its holder: by its fence, some time after it was read, or from any.
    Revoke {
        name: usize,
        fenced: bool,
        late_ms: u64,
    },
    /// Watches the lock for so long.
    Watch {
        name: usize,
        ms: u64,
    },
}

/// A caller that wants a lock, and what it does with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    pub(crate) name: usize,
    pub(crate) style: Style,
    pub(crate) ttl_ms: u64,
    pub(crate) wait_ms: u64,
    /// When the caller drops its call.
    pub(crate) drops_after_ms: Option<u64>,
    pub(crate) hold_ms: u64,
    /// The times to live that a caller without a guard asks for while it holds the lock.
    pub(crate) extends_ms: Vec<u64>,
    pub(crate) ends: Ends,
    /// Whether the caller chooses its token, and calls again with it.
    pub(crate) chooses: bool,
}

/// The call that takes the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    Lock,
    Hold,
    With,
    /// Leads until the work is done.
    Lead,
    /// Holds the lock as a leader.
    Campaign,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ends {
    Releases,
    /// A guard is dropped; a lease is left to expire.
    Drops,
    Crashes,
    /// The work is done for a period.
    Completes {
        period_ms: u64,
    },
}

impl HostPlan {
    /// The world of a seed.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        kinds::plan(seed)
    }

    /// All worlds of a hand-off: a holder, two waiters, and one fault.
    #[must_use]
    pub fn hand_offs() -> Vec<Self> {
        hand_offs::all()
    }

    /// A healthy world without callers of its own.
    pub(crate) fn empty(seed: u64) -> Self {
        Self {
            seed,
            topology: Topology::One,
            clocks: vec![Clock::default()],
            version: Version::Valkey9,
            lag_ms: None,
            waits_for_replica: false,
            replica_ahead_micros: 0,
            network: Habits { latency_ms: 1, ..Habits::default() },
            faults: Vec::new(),
            processes: Vec::new(),
        }
    }

    pub(crate) fn is_quorum(&self) -> bool {
        self.topology == Topology::Quorum
    }

    pub(crate) fn is_cluster(&self) -> bool {
        self.topology == Topology::Cluster
    }

    /// Whether nothing goes wrong but that members start again, empty.
    pub(crate) fn is_rolling(&self) -> bool {
        let empties = |fault: &Fault| matches!(fault.what, FaultKind::Restart { empty: true });
        self.network.delayed + self.network.broken == 0 && self.faults.iter().all(empties)
    }

    /// How many sites must be well for a call to succeed.
    pub(crate) fn needed(&self) -> usize {
        if self.is_quorum() { self.majority() } else { self.clocks.len() }
    }

    /// How many sites must agree.
    pub(crate) fn majority(&self) -> usize {
        if self.is_quorum() { self.clocks.len() / 2 + 1 } else { 1 }
    }

    pub(crate) fn attempts(&self) -> impl Iterator<Item = &Attempt> {
        let steps = self.processes.iter().flat_map(|process| process.callers.iter().flatten());
        steps.filter_map(|step| if let Step::Lock(attempt) = step { Some(attempt) } else { None })
    }

    /// The longest time that a key may stay: a clock that is set, or one of another server, makes it longer.
    pub(crate) fn longest_ms(&self) -> u64 {
        let set_back = |fault: &Fault| match fault.what {
            FaultKind::SetClock { by_ms } => by_ms.unsigned_abs(),
            FaultKind::FailOver => self.replica_ahead_micros / 1000,
            _ => 0,
        };
        self.max_ttl_ms() + self.faults.iter().map(set_back).sum::<u64>()
    }

    fn max_ttl_ms(&self) -> u64 {
        self.attempts()
            .flat_map(|attempt| attempt.extends_ms.iter().copied().chain([attempt.ttl_ms, attempt.ends.period_ms()]))
            .max()
            .unwrap_or(0)
    }
}

impl Ends {
    fn period_ms(self) -> u64 {
        if let Self::Completes { period_ms } = self { period_ms } else { 0 }
    }
}

/// The name of a lock.
pub(crate) fn lock_name(name: usize) -> &'static str {
    LOCK_NAMES[name]
}

pub(crate) const LOCK_NAMES: [&str; 2] = ["job", "other"];

/// A number that depends on all of these.
pub(crate) fn mixed(parts: &[u64]) -> u64 {
    parts.iter().fold(0x9e37_79b9_7f4a_7c15, |mixed, part| fastrand::Rng::with_seed(mixed ^ part).u64(..))
}
