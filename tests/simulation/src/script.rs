//! What callers do, and what may go wrong meanwhile: all that is settled before a world begins.

use std::fmt;

use crate::choices::Choices;

/// One thing that a caller does. What needs a token is left out by a caller that was never granted one.
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
    /// Writes to what the lock guards, without a look at the clock.
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
    LostAnswer,
    LateRequest,
    Duplicate,
    Crash,
    Cancel,
    Pause,
    LostWakeup,
    Expiry,
    Restart,
    Failover,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LostRequest => "loses its connection, and what it has asked",
            Self::LostAnswer => "is answered, and loses its connection",
            Self::LateRequest => "loses its connection, and what it has asked comes late",
            Self::Duplicate => "will be heard twice",
            Self::Crash => "crashes",
            Self::Cancel => "gives up its call",
            Self::Pause => "is paused",
            Self::LostWakeup => "will not be told that the lock is free",
            Self::Expiry => "everybody pauses until the lock expires",
            Self::Restart => "the server starts again and knows nothing",
            Self::Failover => "a replica takes over that lags behind",
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
    /// Whether a request may arrive after its client has given it up.
    pub(crate) strays: bool,
    /// Whether time passes only when nothing else can happen.
    pub(crate) brisk: bool,
    /// Whether nothing happens between an answer and what its caller does next.
    pub(crate) prompt: bool,
    /// What most locks live for.
    pub(crate) ttl_ms: u64,
}

/// A caller, on a machine of its own.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) owner: Option<String>,
    pub(crate) script: Vec<Operation>,
}

/// How large a world is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// Up to five callers and two names, and up to five things that go wrong.
    Wild,
    /// As wild, and a late request may carry another time to live than those after it. No lock can stand that.
    Lawless,
    /// Two callers, one name, and little enough for all that can happen to be gone through.
    Small(Small),
}

/// How small a world is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Small {
    /// How many operations each caller has at most.
    pub operations: usize,
    /// Whether one thing may go wrong, at any point.
    pub fault: bool,
    /// Whether each caller goes on as soon as it is answered. Then all that differs is when the server takes what, and when
    /// something goes wrong.
    pub prompt: bool,
    /// Whether a caller may wait for the other.
    pub waits: bool,
}

impl Small {
    /// Three operations each, and nothing goes wrong.
    pub const CALM: Self = Self { operations: 3, fault: false, prompt: false, waits: true };
    /// Two operations each, nobody waits, and one thing goes wrong.
    pub const SHORT: Self = Self { operations: 2, fault: true, prompt: false, waits: false };
    /// Three operations each, one thing that goes wrong, and callers that go on at once.
    pub const PROMPT: Self = Self { operations: 3, fault: true, prompt: true, waits: true };
    /// Three operations each, nobody waits, and one thing goes wrong. This takes minutes.
    pub const LONG: Self = Self { operations: 3, fault: true, prompt: false, waits: false };

    /// Who does what: the possibilities of the first choice. The callers are alike, so their order does not matter.
    pub(crate) fn pairs(self) -> Vec<[usize; 2]> {
        let scripts = if self.waits { SCRIPTS } else { SCRIPTS_WITHOUT_WAITS };
        (0..scripts).flat_map(|first| (first..scripts).map(move |second| [first, second])).collect()
    }
}

/// How many scripts there are for small worlds, and how many of the first of them wait for nobody.
const SCRIPTS: usize = 5;
const SCRIPTS_WITHOUT_WAITS: usize = 3;

const NAMES: [&str; 2] = ["job", "other"];

impl Plan {
    pub(crate) fn draw(size: Size, choices: &mut Choices) -> Self {
        match size {
            Size::Wild => Self::wild(choices, false),
            Size::Lawless => Self::wild(choices, true),
            Size::Small(small) => Self::small(small, choices),
        }
    }

    fn wild(choices: &mut Choices, lawless: bool) -> Self {
        use Kind::{
            Cancel, Crash, Duplicate, Failover, LateRequest, LostAnswer, LostRequest, LostWakeup, Pause, Restart,
        };
        const STEADY: [Kind; 6] = [LostRequest, LostAnswer, Crash, Cancel, Pause, LostWakeup];
        let ttl_ms = choices.pick(&[2_000_u64, 20, 30_000]);
        let strays = lawless || choices.rarely(2);
        let mut faults = STEADY.to_vec();
        if strays {
            faults.extend([LateRequest, Duplicate]);
        }
        match choices.choose(4) {
            2 => faults.push(Restart),
            3 => faults.push(Failover),
            _ => {}
        }
        let most_faults = choices.choose(6);
        // One that comes late with a shorter time to live than the last would end a lease before its time.
        let times = if strays && !lawless { vec![ttl_ms] } else { vec![ttl_ms, ttl_ms / 2, ttl_ms * 2] };
        let (callers, names) = (2 + choices.choose(4), 1 + choices.choose(2));
        let labels = choices.choose(3);
        let callers = (0..callers).map(|number| Caller {
            owner: match labels {
                0 => Some(format!("host-{number}")),
                1 => Some("same".to_owned()),
                _ => None,
            },
            script: sections(choices, &NAMES[..names], &times),
        });
        Self { callers: callers.collect(), faults, most_faults, strays, brisk: false, prompt: false, ttl_ms }
    }

    fn small(small: Small, choices: &mut Choices) -> Self {
        use Kind::{Cancel, Crash, Duplicate, Expiry, Failover, LateRequest, LostAnswer, LostRequest, Restart};
        let faults =
            [LostRequest, LostAnswer, LateRequest, Duplicate, Crash, Cancel, Expiry, Restart, Failover].to_vec();
        const TTL_MS: u64 = 30_000;
        let key = NAMES[0];
        let lock = Operation::Lock { key, ttl_ms: Some(TTL_MS), wait_ms: 0 };
        let wait = Operation::Lock { key, ttl_ms: Some(TTL_MS), wait_ms: 2 * TTL_MS };
        let (extend, write) = (Operation::Extend { key, ttl_ms: TTL_MS }, Operation::Write { key });
        let (unlock, inspect) = (Operation::Unlock { key }, Operation::Inspect { key });
        let scripts: [_; SCRIPTS] = [
            vec![lock.clone(), write.clone(), unlock.clone()],
            vec![lock.clone(), extend.clone(), write.clone()],
            vec![lock.clone(), unlock, lock],
            vec![wait.clone(), write],
            vec![inspect, wait, extend],
        ];
        let pair = choices.pick(&small.pairs());
        let script = |which: usize| scripts[which].iter().take(small.operations).cloned().collect();
        let caller = |which| Caller { owner: Some("same".to_owned()), script: script(which) };
        let (callers, most_faults) = (pair.map(caller).to_vec(), usize::from(small.fault));
        Self { callers, faults, most_faults, strays: true, brisk: true, prompt: small.prompt, ttl_ms: TTL_MS }
    }
}

/// Some times over: a lock, some work, and mostly a release.
fn sections(choices: &mut Choices, names: &[&'static str], times: &[u64]) -> Vec<Operation> {
    let ttl_ms = times[0];
    let mut script = Vec::new();
    for _ in 0..=choices.choose(3) {
        let key = choices.pick(names);
        let default = choices.rarely(16) && times.len() > 1;
        let ttl_ms = if default { None } else { Some(choices.pick(times)) };
        let wait_ms = choices.pick(&[0, times[0] * 2, times[0] / 2]);
        script.push(Operation::Lock { key, ttl_ms, wait_ms });
        for _ in 0..choices.choose(4) {
            script.push(match choices.choose(5) {
                0 | 1 => Operation::Write { key },
                2 => Operation::Extend { key, ttl_ms: choices.pick(times) },
                3 => Operation::Inspect { key: choices.pick(names) },
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
