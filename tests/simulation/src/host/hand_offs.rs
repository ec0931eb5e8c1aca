//! All worlds of a hand-off: a holder, two waiters, and one thing that goes wrong at any millisecond of it.

use super::plan::{Attempt, Ends, Fault, FaultKind, Habits, HostPlan, Process, Step, Style};

/// In which processes the holder and the two waiters are.
const PROCESSES: [[usize; 3]; 5] = [[0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 1, 1], [0, 1, 2]];
/// By then, all of a healthy world is over.
const LENGTH_MS: u64 = 90;
const LATENCY_MS: u64 = 2;
/// When each caller comes, and for how long it holds the lock.
const COMES_MS: [u64; 3] = [0, 4, 8];
const HOLDS_MS: [u64; 3] = [30, 4, 4];
/// Longer than a request may take.
const LONG_MS: u64 = 6_000;

/// What goes wrong, besides faults of servers and networks.
#[derive(Clone, Copy)]
enum Wrong {
    Fault(FaultKind, u64),
    /// The waiter drops its call.
    Drops(usize),
}

pub(super) fn all() -> Vec<HostPlan> {
    let mut plans = Vec::new();
    for processes in PROCESSES {
        for (style, ends) in [
            (Style::Hold, Ends::Releases),
            (Style::Hold, Ends::Drops),
            (Style::Hold, Ends::Crashes),
            // The lease expires.
            (Style::Lock, Ends::Drops),
        ] {
            let healthy = healthy(processes, style, ends);
            for wrong in wrongs(healthy.processes.len()) {
                let at = |ms| with(wrong, ms, plans.len() as u64 + ms, &healthy);
                let worlds: Vec<_> = (0..LENGTH_MS).map(at).collect();
                plans.extend(worlds);
            }
        }
    }
    plans
}

fn healthy(processes: [usize; 3], style: Style, ends: Ends) -> HostPlan {
    let mut plan = HostPlan::empty(0);
    plan.network = Habits { latency_ms: LATENCY_MS, ..Habits::default() };
    plan.lag_ms = Some(1);
    for (caller, process) in processes.into_iter().enumerate() {
        let (style, ends) = if caller == 0 { (style, ends) } else { (Style::Hold, Ends::Releases) };
        let attempt = Attempt {
            name: 0,
            style,
            ttl_ms: if style == Style::Lock { 50 } else { 1_000 },
            wait_ms: if caller == 0 { 0 } else { 20_000 },
            drops_after_ms: None,
            hold_ms: HOLDS_MS[caller],
            extends_ms: Vec::new(),
            ends,
            chooses: false,
        };
        if plan.processes.len() == process {
            plan.processes.push(Process::default());
        }
        plan.processes[process].callers.push(vec![Step::Pause { ms: COMES_MS[caller] }, Step::Lock(attempt)]);
    }
    plan
}

fn wrongs(processes: usize) -> Vec<Wrong> {
    let mut wrongs = vec![
        Wrong::Fault(FaultKind::Stop, LONG_MS),
        Wrong::Fault(FaultKind::CutAll, 0),
        Wrong::Fault(FaultKind::Restart { empty: false }, 100),
        Wrong::Fault(FaultKind::Restart { empty: true }, 100),
        Wrong::Fault(FaultKind::FailOver, 100),
        Wrong::Fault(FaultKind::FlushScripts, 0),
        Wrong::Drops(1),
        Wrong::Drops(2),
    ];
    for process in 0..processes {
        wrongs.push(Wrong::Fault(FaultKind::Break { process }, 0));
        wrongs.push(Wrong::Fault(FaultKind::Break { process }, LONG_MS / 2));
        wrongs.push(Wrong::Fault(FaultKind::Hang { process }, LONG_MS / 2));
        wrongs.push(Wrong::Fault(FaultKind::Crash { process }, 0));
    }
    wrongs
}

fn with(wrong: Wrong, ms: u64, number: u64, healthy: &HostPlan) -> HostPlan {
    let mut plan = HostPlan { seed: number, ..healthy.clone() };
    match wrong {
        Wrong::Fault(what, for_ms) => plan.faults.push(Fault { site: 0, from_ms: ms, for_ms, what }),
        Wrong::Drops(caller) => {
            let mut callers = plan.processes.iter_mut().flat_map(|process| &mut process.callers);
            let comes = Step::Pause { ms: COMES_MS[caller] };
            if let Some(Step::Lock(attempt)) = callers.find(|steps| steps[0] == comes).map(|steps| &mut steps[1]) {
                attempt.drops_after_ms = Some(ms);
            }
        }
    }
    plan
}
