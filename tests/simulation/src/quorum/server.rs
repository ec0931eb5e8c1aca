//! A member's data and its clock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use locker_host::cache::Entry;
use tokio::sync::Notify;

use super::flaws::Flaw;
use super::plan::MemberClock;

#[derive(Debug)]
pub(crate) struct Server {
    clock: MemberClock,
    pub(crate) shared_counter: bool,
    pub(crate) flaw: Option<Flaw>,
    pub(crate) slots: BTreeMap<String, Slot>,
    pub(crate) counters: BTreeMap<String, u64>,
    /// The values that were withdrawn, and until when they are refused.
    pub(crate) withdrawn: BTreeMap<(String, String), u64>,
    /// Any key may have changed, or the member went away.
    pub(crate) changed: Arc<Notify>,
    pub(crate) down: u32,
    pub(crate) slow: u32,
    /// Until when it does not answer.
    pub(crate) hangs_until: Duration,
    /// How often it went down.
    pub(crate) starts: u32,
}

/// A value that a member has. Times are in microseconds of the member's clock.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub(crate) value: String,
    pub(crate) revision: u64,
    pub(crate) expires: u64,
    /// Until when the caller may count on it, by the simulation's clock.
    pub(crate) promised: Duration,
}

impl Server {
    pub(crate) fn new(clock: MemberClock, shared_counter: bool, flaw: Option<Flaw>) -> Self {
        Self {
            clock,
            shared_counter,
            flaw,
            slots: BTreeMap::new(),
            counters: BTreeMap::new(),
            withdrawn: BTreeMap::new(),
            changed: Arc::default(),
            down: 0,
            slow: 0,
            hangs_until: Duration::ZERO,
            starts: 0,
        }
    }

    /// The time by this member's clock.
    pub(crate) fn time(&self, now: Duration) -> u64 {
        let passed = i128::try_from(now.as_micros()).unwrap_or(i128::MAX);
        let passed = passed + passed * i128::from(self.clock.drift) / 1_000_000;
        self.clock.offset_micros + u64::try_from(passed).unwrap_or(0)
    }

    /// How long `micros` of this member's clock take, and a little longer.
    pub(crate) fn real(&self, micros: u64) -> Duration {
        let rate = u64::try_from(1_000_000 + self.clock.drift).unwrap_or(1);
        Duration::from_micros(micros.saturating_mul(1_000_000) / rate + 1_000)
    }

    /// Removes what has expired.
    pub(crate) fn expire(&mut self, now: Duration) {
        let time = self.time(now);
        self.slots.retain(|_, slot| slot.expires > time);
        self.withdrawn.retain(|_, until| *until > time);
    }

    pub(crate) fn slot(&self, key: &str, now: Duration) -> Option<&Slot> {
        self.slots.get(key).filter(|slot| slot.expires > self.time(now))
    }

    pub(crate) fn entry(&self, key: &str, now: Duration) -> Option<Entry> {
        let slot = self.slot(key, now)?;
        let ttl = Duration::from_millis((slot.expires - self.time(now)) / 1000);
        Some(Entry { value: slot.value.clone(), revision: slot.revision, ttl: Some(ttl) })
    }

    pub(crate) fn last_revision(&mut self, key: &str) -> &mut u64 {
        let counter = if self.shared_counter { "" } else { key };
        self.counters.entry(counter.to_owned()).or_default()
    }

    /// Starts again without data.
    pub(crate) fn lose_data(&mut self) {
        self.slots.clear();
        self.counters.clear();
        self.withdrawn.clear();
    }
}

/// Whether a majority of the others has confirmed all that this member has: then it may lose its data.
pub(crate) fn may_lose_data(servers: &[Server], member: usize, now: Duration, majority: usize) -> bool {
    let lost = &servers[member];
    let others = || servers.iter().enumerate().filter(|(other, _)| *other != member).map(|(_, server)| server);
    let has = |server: &Server, key: &str, lost: &Slot| {
        server.slot(key, now).is_some_and(|slot| {
            let keeps = now + server.real(slot.expires - server.time(now));
            slot.value == lost.value && slot.revision == lost.revision && keeps >= lost.promised
        })
    };
    let values = lost.slots.keys().all(|key| {
        lost.slot(key, now).is_none_or(|slot| others().filter(|server| has(server, key, slot)).count() >= majority)
    });
    let counters = lost.counters.iter().all(|(counter, last)| {
        others().filter(|server| server.counters.get(counter).is_some_and(|its| its >= last)).count() >= majority
    });
    values && counters
}
