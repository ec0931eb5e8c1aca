//! A simpler world that fails in the same way.

use super::flaws::Flaw;
use super::plan::{LinkHabits, Plan};
use super::run::run_quorum;
use crate::shrink::simplest;

/// Leaves out processes, callers, steps, faults and habits of the links for as long as the same invariant is violated.
#[must_use]
pub fn shrink_quorum(plan: &Plan, flaw: Option<Flaw>) -> Plan {
    simplest(plan, simpler, |plan| run_quorum(plan, flaw, false).violation.map(|violation| violation.invariant))
}

/// All plans that are a little simpler.
fn simpler(plan: &Plan) -> Vec<Plan> {
    let mut plans = Vec::new();
    let mut add = |change: &dyn Fn(&mut Plan)| {
        let mut simpler = plan.clone();
        change(&mut simpler);
        if simpler != *plan {
            plans.push(simpler);
        }
    };
    for (process, callers) in plan.processes.iter().enumerate() {
        // The numbers of the others stay, and with them what happens on their links.
        add(&|plan| plan.processes[process].callers.clear());
        for (caller, steps) in callers.callers.iter().enumerate() {
            for step in 0..steps.len() {
                add(&|plan| _ = plan.processes[process].callers[caller].remove(step));
            }
        }
        add(&|plan| plan.processes[process].ahead_micros = 0);
    }
    for fault in 0..plan.faults.len() {
        add(&|plan| _ = plan.faults.remove(fault));
    }
    let habits: [fn(&mut LinkHabits) -> &mut u64; 5] = [
        |link| &mut link.delayed,
        |link| &mut link.lost,
        |link| &mut link.repeated,
        |link| &mut link.reply_lost,
        |link| &mut link.latency_ms,
    ];
    for habit in habits {
        add(&|plan| *habit(&mut plan.link) = 0);
    }
    for clock in 0..plan.clocks.len() {
        add(&|plan| plan.clocks[clock].drift = 0);
    }
    plans
}
