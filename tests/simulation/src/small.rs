//! Worlds that are small enough to go through all of them.

use crate::choices::Choices;
use crate::script::{Caller, Kind, NAMES, Operation, Plan};

/// How small a world is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Small {
    /// How many operations each caller has at most.
    pub operations: usize,
    /// Which one fault may happen, at any point.
    pub fault: Fault,
    /// Whether each caller goes on as soon as it is answered. Then worlds differ only in the order of requests and in when the fault happens.
    pub prompt: bool,
    /// Who calls.
    pub cast: Callers,
}

/// Which one fault may happen in a small world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// None.
    None,
    /// Any but those of messages and queues.
    OfCalls,
    /// Any fault that concerns waiters and hand-offs.
    OfHandOffs,
}

/// Who calls in a small world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Callers {
    /// One caller.
    Alone,
    /// Two callers that do not wait.
    WithoutWaits,
    /// Two callers, some of which wait.
    Two,
    /// A holder and two waiters that are in the queue already, on one machine or on two.
    TwoWaiters,
}

impl Small {
    /// Two operations each, and no fault.
    pub const CALM: Self = Self { operations: 2, fault: Fault::None, prompt: false, cast: Callers::Two };
    /// One attempt each, and one fault.
    pub const SHORT: Self = Self { operations: 1, fault: Fault::OfCalls, prompt: false, cast: Callers::WithoutWaits };
    /// Two operations each, one fault, and callers that go on at once.
    pub const PROMPT: Self = Self { operations: 2, fault: Fault::OfCalls, prompt: true, cast: Callers::Two };
    /// A holder that releases or lets its lock expire and two waiters, one fault of the hand-off, and callers that go on at once.
    pub const HAND_OFF: Self =
        Self { operations: 3, fault: Fault::OfHandOffs, prompt: true, cast: Callers::TwoWaiters };
    /// One caller that extends its lock twice, and one fault.
    pub const ALONE: Self = Self { operations: 4, fault: Fault::OfCalls, prompt: false, cast: Callers::Alone };
    /// Three operations each, one fault, and callers that go on at once. This takes minutes.
    pub const LONG: Self = Self { operations: 3, fault: Fault::OfCalls, prompt: true, cast: Callers::Two };

    /// Who does what: the possibilities of the first choice. The callers are alike, so their order does not matter.
    pub(crate) fn scripts(self) -> Vec<Vec<usize>> {
        let pairs = |scripts: usize| {
            (0..scripts).flat_map(|first| (first..scripts).map(move |second| vec![first, second])).collect()
        };
        match self.cast {
            Callers::Alone => vec![vec![9]],
            // They all begin alike.
            Callers::WithoutWaits if self.operations == 1 => pairs(1),
            Callers::WithoutWaits => pairs(3),
            Callers::Two => pairs(5),
            Callers::TwoWaiters => vec![vec![5, 6, 8], vec![7, 6, 8]],
        }
    }

    pub(crate) fn plan(self, choices: &mut Choices) -> Plan {
        const TTL_MS: u64 = 6_000;
        let which = self.scripts();
        let which = &which[choices.choose(which.len())];
        let shares = self.cast == Callers::TwoWaiters && choices.choose(2) == 1;
        let caller = |(number, script): (usize, &usize)| Caller {
            host: if shares { number.min(1) } else { number },
            owner: Some("same".to_owned()),
            script: script_of(*script, TTL_MS).into_iter().take(self.operations).collect(),
        };
        let callers = which.iter().enumerate().map(caller).collect();
        let (faults, most_faults) = (self.fault.kinds(), usize::from(self.fault != Fault::None));
        Plan {
            callers,
            faults,
            most_faults,
            fault_odds: 12,
            brisk: true,
            time_odds: 12,
            prompt: self.prompt,
            clocks_are_known: true,
            begins_settled: self.cast == Callers::TwoWaiters,
            ttl_ms: TTL_MS,
        }
    }
}

impl Fault {
    fn kinds(self) -> Vec<Kind> {
        use Kind::{
            Cancel, Crash, Duplicate, DuplicateMessage, Expiry, Failover, LateRequest, LostMessage, LostReply,
            LostRequest, Pause, Restart, Vanish,
        };
        match self {
            Self::None => Vec::new(),
            Self::OfCalls => {
                vec![LostRequest, LostReply, LateRequest, Duplicate, Crash, Cancel, Expiry, Restart, Failover]
            }
            Self::OfHandOffs => {
                vec![LostReply, LateRequest, LostMessage, DuplicateMessage, Crash, Vanish, Cancel, Pause, Failover]
            }
        }
    }
}

/// The first three do not wait.
fn script_of(which: usize, ttl_ms: u64) -> Vec<Operation> {
    let key = NAMES[0];
    let lock = Operation::Lock { key, ttl_ms: Some(ttl_ms), wait_ms: 0 };
    let wait = Operation::Lock { key, ttl_ms: Some(ttl_ms), wait_ms: 2 * ttl_ms };
    let (extend, write) = (Operation::Extend { key, ttl_ms }, Operation::Write { key });
    let (unlock, inspect) = (Operation::Unlock { key }, Operation::Inspect { key });
    match which {
        0 => vec![lock, unlock, write],
        1 => vec![lock, extend, write],
        2 => vec![lock.clone(), unlock, lock],
        3 => vec![wait, write, unlock],
        4 => vec![inspect, wait, extend],
        5 => vec![lock, Operation::Rest { ms: 1 }, unlock],
        6 => vec![wait, unlock],
        7 => vec![lock],
        8 => vec![wait],
        _ => vec![lock, Operation::Extend { key, ttl_ms: ttl_ms / 2 }, extend, write],
    }
}
