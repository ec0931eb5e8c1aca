//! Which worlds there are, and how often which things happen in them.

use fastrand::Rng;
use locker_simulated_redis::Version;

use super::plan::{Attempt, Clock, Ends, Fault, FaultKind, Habits, HostPlan, Process, Step, Style, Topology, mixed};
use super::{quorums, roles};

/// Faults happen in the first part of a world.
const FAULTS_MS: u64 = 12_000;

pub(crate) fn plan(seed: u64) -> HostPlan {
    let mut rng = Rng::with_seed(mixed(&[seed]));
    let versions = [Version::Redis6, Version::Redis7, Version::Redis8, Version::Valkey8, Version::Valkey9];
    let plan = HostPlan { version: versions[rng.usize(0..5)], ..HostPlan::empty(seed) };
    let plan = match rng.u32(0..20) {
        0 => return quorums::contention(plan, &mut rng),
        1 => return quorums::rolling(plan, &mut rng),
        2..6 => quorums::members(plan, &mut rng),
        6..8 => confirmed(plan, &mut rng),
        8..11 => cluster(plan, &mut rng),
        _ => replicated(plan, &mut rng),
    };
    roles::give(chaos(plan, &mut rng))
}

/// One server, with a replica or without one.
fn replicated(plan: HostPlan, rng: &mut Rng) -> HostPlan {
    let replica = rng.u32(0..4) == 0;
    HostPlan {
        lag_ms: replica.then(|| [1, rng.u64(1..2_000)][rng.usize(0..2)]),
        replica_ahead_micros: rng.u64(0..5_000_000),
        ..plan
    }
}

/// A server whose locks count once its replica has confirmed them.
fn confirmed(plan: HostPlan, rng: &mut Rng) -> HostPlan {
    HostPlan { lag_ms: Some(rng.u64(0..500)), waits_for_replica: true, ..plan }
}

/// Servers that divide the slots, each with a replica or without one.
fn cluster(plan: HostPlan, rng: &mut Rng) -> HostPlan {
    let clocks = vec![Clock::default(); rng.usize(2..=3)];
    HostPlan { topology: Topology::Cluster, clocks, lag_ms: rng.bool().then(|| rng.u64(0..300)), ..plan }
}

/// Anything happens.
fn chaos(plan: HostPlan, rng: &mut Rng) -> HostPlan {
    let calm = rng.u32(0..4) == 0;
    let mut plan = HostPlan { network: network(rng, calm), ..plan };
    let processes = if rng.u32(0..10) == 0 { rng.usize(4..=8) } else { rng.usize(1..=4) };
    let world = World { names: [1, 1, 2][rng.usize(0..3)], waits: rng.u32(1..=4), crashes: !calm && rng.bool() };
    for _ in 0..processes {
        let callers = (0..[1, 1, 2, 3][rng.usize(0..4)]).map(|_| caller(rng, world));
        let callers = callers.collect();
        plan.processes.push(Process { callers });
    }
    if !calm {
        for _ in 0..rng.usize(1..=4) {
            let fault = fault(rng, &plan);
            plan.faults.push(fault);
        }
    }
    plan
}

fn network(rng: &mut Rng, calm: bool) -> Habits {
    let latency_ms = [0, 1, 1, 5, 30][rng.usize(0..5)];
    let mut odds = |most: u64| if !calm && rng.u32(0..3) == 0 { rng.u64(0..most) } else { 0 };
    Habits { latency_ms, delayed: odds(60), broken: odds(120) }
}

/// What all callers of a world have in common.
#[derive(Clone, Copy)]
struct World {
    names: usize,
    /// How many of five callers wait.
    waits: u32,
    crashes: bool,
}

fn caller(rng: &mut Rng, world: World) -> Vec<Step> {
    let steps = rng.usize(1..=4);
    let mut caller = vec![Step::Pause { ms: rng.u64(0..1_500) }];
    for _ in 0..steps {
        let name = rng.usize(0..world.names);
        caller.push(match rng.u32(0..12) {
            0 => Step::Pause { ms: rng.u64(0..4_000) },
            1 => Step::Inspect { name },
            _ => Step::Lock(attempt(rng, world, name)),
        });
    }
    caller
}

fn attempt(rng: &mut Rng, world: World, name: usize) -> Attempt {
    let style = [Style::Lock, Style::Hold, Style::Hold, Style::With][rng.usize(0..4)];
    let ttl_ms = [rng.u64(300..2_000), rng.u64(2_000..10_000), 20_000][rng.usize(0..3)];
    let extends = if style == Style::Lock && rng.u32(0..3) == 0 { rng.usize(1..=3) } else { 0 };
    Attempt {
        name,
        style,
        ttl_ms,
        wait_ms: if rng.u32(0..5) < world.waits {
            [rng.u64(1..1_000), rng.u64(1_000..20_000)][rng.usize(0..2)]
        } else {
            0
        },
        drops_after_ms: (rng.u32(0..8) == 0).then(|| [rng.u64(0..30), rng.u64(0..6_000)][rng.usize(0..2)]),
        hold_ms: [rng.u64(0..50), rng.u64(0..3_000), rng.u64(0..10_000)][rng.usize(0..3)],
        extends_ms: (0..extends).map(|_| [rng.u64(300..2_000), rng.u64(2_000..10_000)][rng.usize(0..2)]).collect(),
        ends: match rng.u32(0..12) {
            0 if world.crashes => Ends::Crashes,
            0..3 => Ends::Drops,
            _ => Ends::Releases,
        },
        chooses: false,
    }
}

fn fault(rng: &mut Rng, plan: &HostPlan) -> Fault {
    let (process, site) = (rng.usize(0..plan.processes.len()), rng.usize(0..plan.clocks.len()));
    let what = match rng.u32(0..24) {
        _ if plan.is_cluster() && rng.u32(0..3) == 0 => FaultKind::Move { name: rng.usize(0..2) },
        _ if plan.waits_for_replica && rng.bool() => FaultKind::FailOver,
        0..5 => FaultKind::Break { process },
        5..9 => FaultKind::Hang { process },
        9 | 10 => FaultKind::Stop,
        11 | 12 => FaultKind::CutAll,
        13 if rng.bool() => FaultKind::Restart { empty: true },
        13 | 14 => FaultKind::Restart { empty: false },
        15 => FaultKind::FlushScripts,
        // A lock that moves to a node with another clock lasts by that one.
        16 if !plan.is_cluster() => FaultKind::SetClock { by_ms: [60_000, -60_000, -2_000, 15_000][rng.usize(0..4)] },
        17 => FaultKind::Busy,
        18 => FaultKind::Loading,
        19 => FaultKind::Full,
        20 => FaultKind::Evict { name: 0 },
        21 => FaultKind::Refuse,
        _ if plan.lag_ms.is_some() => FaultKind::FailOver,
        _ => FaultKind::Break { process },
    };
    Fault { site, from_ms: rng.u64(0..FAULTS_MS), for_ms: [rng.u64(0..100), rng.u64(0..7_000)][rng.usize(0..2)], what }
}
