//! A simpler world that fails in the same way.

use super::plan::{Attempt, Habits, HostPlan, Step};
use super::run::run_host;
use super::variants::Variant;
use crate::shrink::simplest;

/// Leaves out callers, steps, faults and habits of the network for as long as the same invariant is violated.
#[must_use]
pub fn shrink_host(plan: &HostPlan, variant: Option<&Variant>) -> HostPlan {
    simplest(plan, simpler, |plan| run_host(plan, variant, false).violation.map(|violation| violation.invariant))
}

/// All plans that are a little simpler.
fn simpler(plan: &HostPlan) -> Vec<HostPlan> {
    let mut plans = Vec::new();
    let mut add = |change: &dyn Fn(&mut HostPlan)| {
        let mut simpler = plan.clone();
        change(&mut simpler);
        if simpler != *plan {
            plans.push(simpler);
        }
    };
    for (process, callers) in plan.processes.iter().enumerate() {
        // The numbers of the others stay, and with them what they choose.
        add(&|plan| plan.processes[process].callers.clear());
        for (caller, steps) in callers.callers.iter().enumerate() {
            for step in 0..steps.len() {
                add(&|plan| _ = plan.processes[process].callers[caller].remove(step));
            }
            for (number, step) in steps.iter().enumerate() {
                let Step::Lock(_) = step else { continue };
                for simplify in SIMPLIFY {
                    add(&|plan| {
                        if let Step::Lock(attempt) = &mut plan.processes[process].callers[caller][number] {
                            simplify(attempt);
                        }
                    });
                }
            }
        }
    }
    for fault in 0..plan.faults.len() {
        add(&|plan| _ = plan.faults.remove(fault));
    }
    let habits: [fn(&mut Habits) -> &mut u64; 3] =
        [|network| &mut network.delayed, |network| &mut network.broken, |network| &mut network.latency_ms];
    for habit in habits {
        add(&|plan| *habit(&mut plan.network) = 0);
    }
    add(&|plan| plan.lag_ms = None);
    plans
}

const SIMPLIFY: [fn(&mut Attempt); 4] = [
    |attempt| attempt.drops_after_ms = None,
    |attempt| attempt.extends_ms.clear(),
    |attempt| attempt.wait_ms = 0,
    |attempt| attempt.hold_ms = 0,
];
