//! Of several callers of a free lock, one has it, and the others are told so.

use super::invariants::QuorumInvariant::ContentionIsDecided;
use super::plan::Kind;
use super::world::World;

/// Checks what the callers of a world without faults were answered.
pub(crate) fn check(world: &World) {
    if world.plan.kind != Kind::Contention {
        return;
    }
    let callers = world.plan.processes.len();
    world.ledger(|ledger, _| {
        if ledger.granted != 1 || ledger.occupied + 1 != callers {
            let (granted, occupied) = (ledger.granted, ledger.occupied);
            let what =
                format!("of {callers}, {granted} were granted, {occupied} told of a holder: {:?}", ledger.failed);
            ledger.violated(ContentionIsDecided, what);
        }
    });
}
