//! Callers that do more than take, hold and release locks, in every other world of chaos.

use fastrand::Rng;

use super::plan::{Attempt, Ends, HostPlan, Step, Style, mixed};

/// Gives some callers of a plan these roles, or leaves it as it is.
pub(super) fn give(mut plan: HostPlan) -> HostPlan {
    let rng = &mut Rng::with_seed(mixed(&[plan.seed, 6]));
    if rng.bool() {
        return plan;
    }
    let names = plan.attempts().map(|attempt| attempt.name).max().map_or(1, |most| most + 1);
    for process in &mut plan.processes {
        for step in process.callers.iter_mut().flatten() {
            if let Step::Lock(attempt) = step {
                change(attempt, rng);
            }
        }
        if rng.u32(0..4) == 0 {
            process.callers.push(revokes(rng, names));
        }
        if rng.u32(0..5) == 0 {
            let pause = Step::Pause { ms: rng.u64(0..6_000) };
            let ms = [rng.u64(0..5_000), rng.u64(0..25_000)][rng.usize(0..2)];
            process.callers.push(vec![pause, Step::Watch { name: rng.usize(0..names), ms }]);
        }
    }
    plan
}

fn change(attempt: &mut Attempt, rng: &mut Rng) {
    match rng.u32(0..12) {
        0 | 1 => {
            // A short lease may end each time before it is renewed.
            let (ttl_ms, hold_ms) = (attempt.ttl_ms.max(2_000), attempt.hold_ms.min(5_000));
            *attempt = Attempt { style: Style::Lead, ttl_ms, hold_ms, ..attempt.clone() };
        }
        2 => (attempt.style, attempt.ttl_ms) = (Style::Campaign, attempt.ttl_ms.max(2_000)),
        3 | 4 if matches!(attempt.style, Style::Lock | Style::Hold) => {
            (attempt.chooses, attempt.wait_ms) = (true, 0);
        }
        _ => {}
    }
    if attempt.ends == Ends::Releases && rng.u32(0..4) == 0 {
        let period_ms = [rng.u64(1..2_000), rng.u64(2_000..15_000)][rng.usize(0..2)];
        attempt.ends = Ends::Completes { period_ms };
    }
}

fn revokes(rng: &mut Rng, names: usize) -> Vec<Step> {
    let mut steps = Vec::new();
    for _ in 0..rng.usize(1..=4) {
        let late_ms = if rng.bool() { 0 } else { rng.u64(0..2_500) };
        steps.push(Step::Pause { ms: rng.u64(0..5_000) });
        steps.push(Step::Revoke { name: rng.usize(0..names), fenced: rng.u32(0..3) > 0, late_ms });
    }
    steps
}
