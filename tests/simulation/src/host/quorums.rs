//! Worlds of quorums.

use fastrand::Rng;

use super::plan::{Attempt, Clock, Ends, Fault, FaultKind, HostPlan, Process, Step, Style, Topology};

/// Servers that know nothing of each other, and whose clocks differ.
pub(super) fn members(plan: HostPlan, rng: &mut Rng) -> HostPlan {
    let mut clock = || Clock { ahead_micros: rng.i64(0..600_000_000), drift: rng.i64(-4_000..=4_000) };
    let clocks = (0..if plan.seed.is_multiple_of(3) { 5 } else { 3 }).map(|_| clock()).collect();
    HostPlan { topology: Topology::Quorum, clocks, ..plan }
}

/// All is healthy, and many processes want a free lock at the same time.
pub(super) fn contention(plan: HostPlan, rng: &mut Rng) -> HostPlan {
    let mut plan = members(plan, rng);
    plan.network.latency_ms = [0, 1, 5, 20][rng.usize(0..4)];
    let callers = if rng.u32(0..20) == 0 { rng.usize(9..=32) } else { rng.usize(2..=8) };
    for _ in 0..callers {
        let pause = Step::Pause { ms: rng.u64(0..=plan.network.latency_ms) };
        let wants = Step::Lock(Attempt { ttl_ms: 20_000, hold_ms: 8_000, ..attempt() });
        plan.processes.push(Process { callers: vec![vec![pause, wants]] });
    }
    plan
}

/// The members start again empty, one after the other, while a caller holds the lock and others want it.
pub(super) fn rolling(plan: HostPlan, rng: &mut Rng) -> HostPlan {
    let mut plan = members(plan, rng);
    let ttl_ms = rng.u64(3_000..=10_000);
    let (mut from_ms, for_ms) = (500, rng.u64(0..=ttl_ms / 3));
    for site in 0..plan.clocks.len() {
        plan.faults.push(Fault { site, from_ms, for_ms, what: FaultKind::Restart { empty: true } });
        from_ms += for_ms + ttl_ms / 3 + 12_000;
    }
    let holder = Attempt { ttl_ms, hold_ms: from_ms, ..attempt() };
    plan.processes.push(Process { callers: vec![vec![Step::Lock(holder)]] });
    for _ in 0..rng.usize(0..=2) {
        let mut wants = || {
            let wait_ms = [0, 1_000][rng.usize(0..2)];
            [Step::Pause { ms: rng.u64(100..=4_000) }, Step::Lock(Attempt { ttl_ms, wait_ms, ..attempt() })]
        };
        let steps = (0..6).flat_map(|_| wants()).collect();
        plan.processes.push(Process { callers: vec![steps] });
    }
    plan
}

/// A caller that does not wait, and holds the lock by a guard for no time.
fn attempt() -> Attempt {
    Attempt {
        name: 0,
        style: Style::Hold,
        ttl_ms: 1_000,
        wait_ms: 0,
        drops_after_ms: None,
        hold_ms: 0,
        extends_ms: Vec::new(),
        ends: Ends::Releases,
        chooses: false,
    }
}
