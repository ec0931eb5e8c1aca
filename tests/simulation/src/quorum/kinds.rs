//! The kinds of worlds, and how often which things happen in them.

use fastrand::Rng;

use super::plan::{Attempt, Ends, Fault, FaultKind, Kind, LinkHabits, MemberClock, Plan, Process, Step, mixed};

pub(crate) fn plan(seed: u64) -> Plan {
    let mut rng = Rng::with_seed(mixed(&[seed]));
    match rng.u32(0..20) {
        0..4 => contention(seed, &mut rng),
        4..6 => rolling(seed, &mut rng),
        _ => chaos(seed, &mut rng),
    }
}

fn healthy(seed: u64, kind: Kind, rng: &mut Rng) -> Plan {
    let members = [3, 3, 3, 3, 5, 5, 5, 7][rng.usize(0..8)];
    let clock = |rng: &mut Rng| MemberClock {
        offset_micros: 1_000_000_000_000_000 + rng.u64(0..600_000_000),
        drift: rng.i64(-5_000..=5_000),
    };
    Plan {
        seed,
        kind,
        clocks: (0..members).map(|_| clock(rng)).collect(),
        shared_counter: rng.bool(),
        use_by: rng.u32(0..4) > 0,
        timeout_ms: 500,
        link: LinkHabits { latency_ms: [0, 1, 5, 20][rng.usize(0..4)], ..LinkHabits::default() },
        faults: Vec::new(),
        processes: Vec::new(),
    }
}

fn process(rng: &mut Rng) -> Process {
    let ahead_micros = match rng.u32(0..4) {
        0 => 0,
        1 | 2 => rng.u64(0..50_000),
        _ => rng.u64(0..20_000_000),
    };
    Process { ahead_micros, callers: Vec::new() }
}

fn contention(seed: u64, rng: &mut Rng) -> Plan {
    let mut plan = healthy(seed, Kind::Contention, rng);
    let callers = match rng.u32(0..40) {
        0 => rng.usize(33..=64),
        1..4 => rng.usize(9..=32),
        _ => rng.usize(2..=8),
    };
    for _ in 0..callers {
        let mut process = process(rng);
        let attempt = Attempt { ttl_ms: 30_000, hold_ms: 8_000, survives: true, ..attempt(0) };
        process.callers = vec![vec![Step::Pause { ms: rng.u64(0..=plan.link.latency_ms) }, Step::Lock(attempt)]];
        plan.processes.push(process);
    }
    plan
}

fn rolling(seed: u64, rng: &mut Rng) -> Plan {
    let mut plan = healthy(seed, Kind::Rolling, rng);
    let ttl_ms = rng.u64(1_500..=10_000);
    let mut from_ms = 500;
    let down_ms = rng.u64(0..=ttl_ms / 3);
    for member in 0..plan.clocks.len() {
        plan.faults.push(Fault { from_ms, for_ms: down_ms, what: FaultKind::Down { member, empty: true } });
        from_ms += down_ms + ttl_ms / 3 + 1_500;
    }
    let holder = Attempt { ttl_ms, hold_ms: from_ms, renews: true, survives: true, ..attempt(0) };
    plan.processes.push(Process { callers: vec![vec![Step::Lock(holder)]], ..process(rng) });
    for _ in 0..rng.usize(0..=2) {
        let wants = |rng: &mut Rng| {
            let wait_ms = [0, 1_000][rng.usize(0..2)];
            [Step::Pause { ms: rng.u64(100..=1_500) }, Step::Lock(Attempt { ttl_ms, wait_ms, ..attempt(0) })]
        };
        let steps = (0..rng.usize(1..=6)).flat_map(|_| wants(rng)).collect();
        plan.processes.push(Process { callers: vec![steps], ..process(rng) });
    }
    plan
}

fn chaos(seed: u64, rng: &mut Rng) -> Plan {
    let mut plan = healthy(seed, Kind::Chaos, rng);
    plan.timeout_ms = [500, 500, 200, 100][rng.usize(0..4)];
    // Some worlds have one kind of trouble only.
    let mut odds = |most: u64| if rng.bool() { rng.u64(0..most) } else { 0 };
    (plan.link.delayed, plan.link.lost) = (odds(200), odds(100));
    (plan.link.repeated, plan.link.reply_lost) = (odds(200), odds(100));
    let processes = if rng.u32(0..20) == 0 { rng.usize(9..=16) } else { rng.usize(2..=6) };
    let (keys, hurry, reuses) = (rng.usize(1..=2), rng.bool(), rng.u32(0..4) == 0);
    for _ in 0..processes {
        let mut process = process(rng);
        for _ in 0..[1, 1, 1, 2][rng.usize(0..4)] {
            let steps = rng.usize(1..=4);
            process.callers.push((0..steps).map(|_| step(rng, keys, hurry, reuses)).collect());
        }
        plan.processes.push(process);
    }
    for _ in 0..rng.usize(0..=6) {
        let (from_ms, for_ms) = (rng.u64(0..6_000), rng.u64(1..3_000));
        plan.faults.push(Fault { from_ms, for_ms, what: fault(rng, processes, plan.clocks.len()) });
    }
    let is_healthy = plan.faults.is_empty() && plan.link.delayed + plan.link.lost + plan.link.reply_lost == 0;
    if !is_healthy {
        without_repeats(&mut plan);
    }
    plan
}

/// An extension may name the fence of a repeated request whose votes are not withdrawn yet.
fn without_repeats(plan: &mut Plan) {
    for step in plan.processes.iter_mut().flat_map(|process| process.callers.iter_mut().flatten()) {
        if let Step::Lock(attempt) = step {
            attempt.repeats = false;
        }
    }
}

fn fault(rng: &mut Rng, processes: usize, members: usize) -> FaultKind {
    let member = rng.usize(0..members);
    match rng.u32(0..6) {
        0 | 1 => FaultKind::Partition { process: rng.usize(0..processes), member },
        2 => FaultKind::Down { member, empty: false },
        3 => FaultKind::Down { member, empty: true },
        4 => FaultKind::Hang { member },
        _ => FaultKind::Slow { member },
    }
}

fn step(rng: &mut Rng, keys: usize, hurry: bool, reuses: bool) -> Step {
    let key = rng.usize(0..keys);
    match rng.u32(0..10) {
        0 => Step::Pause { ms: rng.u64(0..2_000) },
        1 => Step::Get { key },
        _ => Step::Lock(Attempt {
            ttl_ms: [rng.u64(200..1_000), rng.u64(1_000..10_000), 60_000][rng.usize(0..3)],
            wait_ms: [0, rng.u64(1..200), rng.u64(200..4_000)][rng.usize(0..3)],
            drops_after_ms: (rng.u32(0..6) == 0).then(|| rng.u64(0..500)),
            retries: if reuses { [0, 0, 1, 3][rng.usize(0..4)] } else { 0 },
            hold_ms: if hurry { rng.u64(0..50) } else { rng.u64(0..3_000) },
            renews: rng.u32(0..3) > 0,
            repeats: reuses && rng.u32(0..5) == 0,
            ends: match rng.u32(0..12) {
                0 => Ends::Crashes,
                1 | 2 => Ends::Expires,
                _ => Ends::Releases,
            },
            survives: false,
            key,
        }),
    }
}

/// One attempt without a wait, and a release at once.
pub(crate) fn attempt(key: usize) -> Attempt {
    Attempt {
        key,
        ttl_ms: 1_000,
        wait_ms: 0,
        drops_after_ms: None,
        retries: 0,
        hold_ms: 0,
        renews: false,
        repeats: false,
        ends: Ends::Releases,
        survives: false,
    }
}
