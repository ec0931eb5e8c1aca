//! Giving back what nobody came to own, as a real host does it.

use locker_host::Delete;

use crate::lent::Lent;
use crate::store::MILLISECOND;
use crate::world::Unowned;

/// Deletes a value once a second until the store has said what became of it, or until it is gone anyway. A store that
/// says that there is no such key is asked once more: the request may only just be on its way.
pub(crate) async fn give_back(cache: Lent, unowned: Unowned) {
    let Unowned { key, value, gone } = unowned;
    let (mut next, mut absent) = (cache.port.now(), 0);
    let (broke, mut created) = (cache.port.world().ledger.broke, 0);
    while absent < 2 {
        if cache.port.now() >= gone {
            settle(&cache, &value);
            return;
        }
        cache.port.sleep_until(next).await;
        next += 1000 * MILLISECOND;
        created = cache.port.world().ledger.created.len();
        match cache.delete_if_equal(&key, &value).await {
            Ok(Delete::Deleted | Delete::Different) => break,
            Ok(Delete::Absent) => absent += 1,
            Err(_) => {}
        }
    }
    settle(&cache, &value);
    let mut world = cache.port.world();
    // What was sent through a connection that is gone may still arrive, or has just done so; and a store that has lost
    // what it did has lost the deletion too. Only the time to live ends that.
    let arrived = world.ledger.created[created..].iter().any(|created| created.value == value);
    if !arrived && !world.network.may_store(&value) && world.ledger.broke == broke {
        world.ledger.given_back.push(value);
    }
}

/// Nothing more will be done about a value.
fn settle(cache: &Lent, value: &str) {
    cache.port.world().ledger.failed.retain(|(_, failed)| failed != value);
}
