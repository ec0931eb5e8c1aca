//! Withdraws values whose callers went away, as a real host does.

use crate::process::Orphan;
use crate::sim_cache::SimCache;
use crate::table::SECOND;

/// Withdraws a value once a second until the store has answered, or until the value has expired.
pub(crate) async fn orphan_cleanup(cache: SimCache, orphan: Orphan) {
    let Orphan { key, value, expired } = orphan;
    let mut next = cache.port.now();
    loop {
        cache.port.sleep_until(next).await;
        next += SECOND;
        let broke = cache.port.world().ledger.broke;
        if cache.port.now() >= expired {
            break settle(&cache, &value);
        }
        if cache.withdraw(&key, &value).await.is_ok() {
            settle(&cache, &value);
            let mut world = cache.port.world();
            // A store that has lost what it did has lost the withdrawal too.
            if world.ledger.broke == broke {
                world.ledger.withdrawn.push(value);
            }
            break;
        }
    }
}

/// Nothing more will be done about a value.
fn settle(cache: &SimCache, value: &str) {
    let host = cache.port.host();
    let mut world = cache.port.world();
    world.clients[host].withdrawing.remove(value);
    world.ledger.failed.retain(|(_, failed)| failed != value);
}
