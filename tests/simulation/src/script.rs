//! What callers do, and what may go wrong meanwhile: a world before it begins.

use std::fmt;

use crate::choices::Choices;
use crate::small::Small;

/// One thing that a caller does. A caller that was never granted a lock leaves out what needs a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Lock {
        key: &'static str,
        ttl_ms: Option<u64>,
        wait_ms: u64,
    },
    Extend {
        key: &'static str,
        ttl_ms: u64,
    },
    /// Writes to the guarded resource, without checking the clock.
    Write {
        key: &'static str,
    },
    Unlock {
        key: &'static str,
    },
    Inspect {
        key: &'static str,
    },
    Rest {
        ms: u64,
    },
}

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    LostRequest,
    LostReply,
    LateRequest,
    Duplicate,
    LostMessage,
    DuplicateMessage,
    Crash,
    Vanish,
    Cancel,
    Pause,
    Expiry,
    Restart,
    Failover,
    ClockForward,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LostRequest => "loses its connection, and its request",
            Self::LostReply => "is answered, and loses its connection",
            Self::LateRequest => "loses its connection, and its request comes late",
            Self::Duplicate => "sends its request twice",
            Self::LostMessage => "does not get a message",
            Self::DuplicateMessage => "gets a message twice",
            Self::Crash => "crashes",
            Self::Vanish => "loses its machine, and the server does not notice",
            Self::Cancel => "gives up its call",
            Self::Pause => "is paused",
            Self::Expiry => "all pause until the lock expires",
            Self::Restart => "the server starts again, empty",
            Self::Failover => "a replica takes over",
            Self::ClockForward => "the server's clock is set forward",
        })
    }
}

/// A world before it begins.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) callers: Vec<Caller>,
    /// What can go wrong, and how often at most.
    pub(crate) faults: Vec<Kind>,
    pub(crate) most_faults: usize,
    /// One happens in so many steps.
    pub(crate) fault_odds: u64,
    /// Whether time passes only when nothing else can happen.
    pub(crate) brisk: bool,
    /// Otherwise, it passes by itself in one of so many steps.
    pub(crate) time_odds: u64,
    /// Whether nothing happens between a reply and what its caller does next.
    pub(crate) prompt: bool,
    /// Whether clients need not ask for the server's time at first.
    pub(crate) clocks_are_known: bool,
    /// Whether the first events are always the same, until time passes.
    pub(crate) begins_settled: bool,
    /// How long most locks live.
    pub(crate) ttl_ms: u64,
}

/// A caller, and the client that it uses.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) host: usize,
    pub(crate) owner: Option<String>,
    pub(crate) script: Vec<Operation>,
}

/// How large a world is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// Up to five callers and two names, and up to five faults.
    Wild,
    /// Two or three callers, one name, and few enough events to go through all of their orders.
    Small(Small),
}

pub(crate) const NAMES: [&str; 2] = ["job", "other"];

impl Plan {
    pub(crate) fn draw(size: Size, choices: &mut Choices) -> Self {
        match size {
            Size::Wild => Self::wild(choices),
            Size::Small(small) => small.plan(choices),
        }
    }

    fn wild(choices: &mut Choices) -> Self {
        let ttl_ms = choices.pick(&[2_000_u64, 30_000, 20, 30_000]);
        let faults = wild_faults(choices);
        let (most_faults, fault_odds) = (choices.choose(6), choices.pick(&[12, 4, 40]));
        let time_odds = choices.pick(&[64, 16, 6]);
        let times = [ttl_ms, ttl_ms / 2, ttl_ms * 2];
        let (callers, names) = (2 + choices.choose(4), 1 + usize::from(choices.rarely(3)));
        let labels = choices.choose(3);
        let mut hosts = 0;
        let callers = (0..callers).map(|number| {
            let shares = choices.rarely(3) && hosts > 0;
            hosts += usize::from(!shares);
            Caller {
                host: hosts - 1,
                owner: match labels {
                    0 => Some(format!("host-{number}")),
                    1 => Some("same".to_owned()),
                    _ => None,
                },
                script: sections(choices, &NAMES[..names], &times),
            }
        });
        let callers = callers.collect();
        Self {
            callers,
            faults,
            most_faults,
            fault_odds,
            brisk: false,
            time_odds,
            prompt: false,
            clocks_are_known: false,
            begins_settled: false,
            ttl_ms,
        }
    }
}

/// Some kinds of faults: with few of them in a world, each meets itself and the others more often. At most one is of the server: fences and
/// use-bys hold while its clock goes forward only.
fn wild_faults(choices: &mut Choices) -> Vec<Kind> {
    use Kind::{
        Cancel, ClockForward, Crash, Duplicate, DuplicateMessage, Failover, LateRequest, LostMessage, LostReply,
        LostRequest, Pause, Restart, Vanish,
    };
    const OF_CLIENTS: [Kind; 10] =
        [LostRequest, LostReply, LateRequest, Duplicate, LostMessage, DuplicateMessage, Crash, Vanish, Cancel, Pause];
    let mut faults = OF_CLIENTS.to_vec();
    faults.retain(|_| choices.rarely(3));
    match choices.choose(8) {
        1 => faults.push(Restart),
        2 | 3 => faults.push(Failover),
        4 => faults.push(ClockForward),
        _ => {}
    }
    faults
}

/// Up to three times: a lock, some work, and mostly a release.
fn sections(choices: &mut Choices, names: &[&'static str], times: &[u64]) -> Vec<Operation> {
    let ttl_ms = times[0];
    let mut script = Vec::new();
    for _ in 0..=choices.choose(3) {
        let key = choices.pick(names);
        let default = choices.rarely(16);
        let ttl_ms = if default { None } else { Some(choices.pick(times)) };
        let wait_ms = choices.pick(&[times[0] * 2, 0, times[0] * 4, times[0] / 2]);
        script.push(Operation::Lock { key, ttl_ms, wait_ms });
        for _ in 0..choices.choose(4) {
            script.push(match choices.choose(6) {
                0 | 1 => Operation::Write { key },
                2 | 3 => Operation::Extend { key, ttl_ms: choices.pick(times) },
                4 => Operation::Inspect { key: choices.pick(names) },
                _ => Operation::Rest { ms: choices.pick(&[1, times[0] / 2, times[0] * 2]) },
            });
        }
        if !choices.rarely(5) {
            script.push(Operation::Unlock { key });
            if choices.rarely(8) {
                script.push(Operation::Unlock { key });
            }
        }
    }
    if choices.rarely(4) {
        script.insert(0, Operation::Rest { ms: ttl_ms / 2 });
    }
    script
}
