//! Which waiters are live: what a server that sees all would know.

use crate::invariants::Invariant;
use crate::process::Awaits;
use crate::table::{Micros, SECOND, Table};
use crate::world::World;

/// How long a waiter may sleep while the lock is free or its own: it looks at least every six seconds.
const MOST_FORGOTTEN: Micros = 9 * SECOND;

impl World {
    /// The values in the queue for a key whose callers still wait and whom the server can tell from dead ones.
    pub(crate) fn live_waiters(&self, key: &str) -> Vec<String> {
        let entries = self.table.queues.get(key).map_or(&[][..], |queue| &queue.entries);
        let live = entries.iter().filter(|entry| self.is_live(key, entry.client, &entry.value));
        live.map(|entry| entry.value.clone()).collect()
    }

    fn is_live(&self, key: &str, host: usize, value: &str) -> bool {
        let Some(client) = self.clients.get(host) else { return false };
        let Some(waiter) = client.waiters.iter().find(|waiter| waiter.value == value) else { return false };
        let process = &self.processes[waiter.process];
        let waits = process.call.as_ref().is_some_and(|call| !call.cancelled) && !process.done;
        let connection = self.network.connection(host);
        let reachable =
            self.table.subscribed.contains(&(host, connection)) || has_grace(&self.table, key, host, self.now);
        waits && client.paused_until <= self.now && reachable && self.table.clients.contains_key(&host)
    }

    /// Counts for how long each waiter sleeps while nothing but its sleep keeps it from the lock.
    pub(crate) fn watch_waiters(&mut self, passed: Micros) {
        for host in 0..self.clients.len() {
            let calm = !self.network.is_busy(host) && self.clients[host].paused_until <= self.now;
            for index in 0..self.clients[host].waiters.len() {
                self.watch_waiter(host, index, passed, calm);
            }
        }
    }

    fn watch_waiter(&mut self, host: usize, index: usize, passed: Micros, calm: bool) {
        let waiter = &self.clients[host].waiters[index];
        let process = &self.processes[waiter.process];
        let sleeps = matches!(process.awaits, Awaits::Wakeup { .. }) && !self.is_ready(waiter.process);
        let own = self.table.slots.get(&waiter.key).is_none_or(|slot| slot.value == waiter.value);
        let waiter = &mut self.clients[host].waiters[index];
        if !own {
            waiter.forgotten = 0;
        } else if calm && sleeps {
            waiter.forgotten += passed;
        }
        if waiter.forgotten > MOST_FORGOTTEN {
            let what = format!("{} sleeps although {} is free or its own", crate::world::name_of(host), waiter.key);
            self.ledger.violate(Invariant::NoWaiterIsForgotten, what);
        }
    }
}

/// Whether a client that is not subscribed yet is to be waited for after a failover.
fn has_grace(table: &Table, key: &str, host: usize, now: Micros) -> bool {
    let elsewhere = table.clients.get(&host).is_some_and(|client| client.run_id != table.run_id);
    elsewhere && !table.is_subscribed(host) && table.graces.get(key).is_none_or(|(ends, _)| now < *ends)
}
