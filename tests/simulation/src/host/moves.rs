//! Slots of a cluster that move from node to node.

use std::sync::Arc;
use std::time::Duration;

use locker_simulated_redis::slot_of;
use tokio::time::sleep;

use super::faults::{RECOVERY, change};
use super::plan::lock_name;
use super::sites::Sites;
use super::world::{State, World};

const RETRY_INTERVAL: Duration = Duration::from_millis(100);
/// In how many parts the keys of a slot move.
const PARTS: u32 = 3;

/// The slot of a lock moves to the next node within this time.
pub(super) async fn moves(world: &Arc<World>, name: usize, length: Duration) {
    let slot = slot_of(format!("lock:{}", lock_name(name)).as_bytes());
    let Some((from, to)) = world.state().sites.next_owner(slot) else { return };
    change(world, |state, _| state.sites.begins_move(slot, from, to));
    for part in 1..=PARTS {
        sleep(length / PARTS).await;
        change(world, |state, now| state.sites.move_keys(slot, (from, to), part == PARTS, now));
    }
    // A node without memory for them refuses keys.
    while change(world, |state, now| {
        state.sites.move_keys(slot, (from, to), true, now);
        disturb(state, now + length);
        !state.sites.all[from].primary(now).keys_in_slot(slot).is_empty()
    }) {
        sleep(RETRY_INTERVAL).await;
    }
    // The new owner knows first.
    change(world, |state, _| state.sites.ends_move(slot, to, to));
    sleep(length / PARTS).await;
    change(world, |state, now| {
        state.sites.move_keys(slot, (from, to), true, now);
        for node in 0..state.sites.all.len() {
            state.sites.ends_move(slot, node, to);
        }
    });
}

/// Calls to all nodes may fail until then.
pub(super) fn disturb(state: &mut State, until: Duration) {
    (0..state.sites.all.len()).for_each(|site| state.ledger.disturbed(None, site, until + RECOVERY));
}

impl Sites {
    /// The node that serves a slot, and the next one, if the slot does not move already.
    fn next_owner(&mut self, slot: u16) -> Option<(usize, usize)> {
        let from = self.owner(slot)?;
        let is_moving = self.cluster(from)?.migrating.contains_key(&slot);
        let all_know =
            (0..self.all.len()).all(|node| self.cluster(node).is_some_and(|its| its.owner(slot) == Some(from)));
        (!is_moving && all_know).then_some((from, (from + 1) % self.all.len()))
    }

    /// The node that serves a slot.
    pub(super) fn owner(&mut self, slot: u16) -> Option<usize> {
        (0..self.all.len()).find(|node| self.cluster(*node).is_some_and(|cluster| cluster.owner(slot) == Some(*node)))
    }

    fn begins_move(&mut self, slot: u16, from: usize, to: usize) {
        self.views(from, |cluster| _ = cluster.migrating.insert(slot, to));
        self.views(to, |cluster| _ = cluster.importing.insert(slot, from));
    }

    /// Moves all keys of a slot, or every other one.
    fn move_keys(&mut self, slot: u16, (from, to): (usize, usize), all: bool, now: Duration) {
        let keys = self.all[from].primary(now).keys_in_slot(slot);
        for key in keys.into_iter().step_by(if all { 1 } else { 2 }) {
            let [from, to] = if from < to {
                let (first, second) = self.all.split_at_mut(to);
                [&mut first[from], &mut second[0]]
            } else {
                let (first, second) = self.all.split_at_mut(from);
                [&mut second[0], &mut first[to]]
            };
            from.primary(now).migrate(&key, to.primary(now));
            from.send_to_replica(now);
            to.send_to_replica(now);
        }
    }

    /// A node learns of the new owner of a slot.
    fn ends_move(&mut self, slot: u16, node: usize, owner: usize) {
        self.views(node, |cluster| cluster.assign(slot, owner));
    }
}
