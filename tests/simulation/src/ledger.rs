//! What has happened, as nobody in the world can know it: all that the invariants are checked against.

use std::collections::{BTreeMap, BTreeSet};

use crate::invariants::{Invariant, Violation};
use crate::network::Message;
use crate::store::{DEFAULT_TTL_MS, MILLISECOND, Micros, Request, Table};

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) calls: Vec<Call>,
    pub(crate) grants: Vec<Grant>,
    /// What came to lie in the store, in the order in which it did.
    pub(crate) created: Vec<Created>,
    /// What has lain under each name, and since when.
    pub(crate) versions: BTreeMap<String, Vec<Version>>,
    /// Who first asked to store a value.
    pub(crate) minted: BTreeMap<String, usize>,
    /// How long a value may lie in the store at most.
    pub(crate) longest: BTreeMap<String, Micros>,
    /// Values that a call has left behind that failed, and whose they are. Giving them back is under way.
    pub(crate) failed: Vec<(usize, String)>,
    /// Values that must not be in the store any more.
    pub(crate) given_back: Vec<String>,
    /// Whose write what a lock guards has taken last, by the order of what was created.
    pub(crate) writer: BTreeMap<String, usize>,
    /// When the store last lost what it had confirmed.
    pub(crate) broke: Option<Micros>,
    pub(crate) violation: Option<Violation>,
}

/// A call into the guest.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) host: usize,
    pub(crate) key: String,
    pub(crate) asked: Asked,
    pub(crate) began: Micros,
    pub(crate) ended: bool,
    pub(crate) requests: usize,
    /// How many of its requests were to store something, and how many to wait.
    pub(crate) sets: usize,
    pub(crate) watches: usize,
    /// What it has asked to store.
    pub(crate) stored: BTreeSet<String>,
    /// What its requests have deleted.
    pub(crate) removed: BTreeSet<String>,
    /// How long it has waited of its own will.
    pub(crate) napped: Micros,
    /// And how often.
    pub(crate) naps: u64,
}

/// What a call was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Lock { ttl_ms: u64, wait_ms: u64 },
    Extend { ttl_ms: u64, token: String },
    Unlock { token: String },
    Inspect,
}

impl Asked {
    pub(crate) fn verb(&self) -> &'static str {
        match self {
            Self::Lock { wait_ms: 0, .. } => "locks",
            Self::Lock { .. } => "locks, and would wait for,",
            Self::Extend { .. } => "extends",
            Self::Unlock { .. } => "unlocks",
            Self::Inspect => "inspects",
        }
    }
}

/// A lease that a caller was granted.
#[derive(Debug)]
pub(crate) struct Grant {
    pub(crate) host: usize,
    pub(crate) key: String,
    pub(crate) token: String,
    pub(crate) fence: u64,
    /// Its place among all that was created.
    pub(crate) order: usize,
    pub(crate) answered: Micros,
    /// Until when its holder may believe that it holds the lock.
    pub(crate) deadline: Micros,
    /// Whether its holder knows that it holds the lock no more.
    pub(crate) over: bool,
    /// Whether the store has lost it.
    pub(crate) lost: bool,
}

#[derive(Debug)]
pub(crate) struct Created {
    pub(crate) key: String,
    pub(crate) value: String,
    pub(crate) revision: u64,
}

#[derive(Debug)]
pub(crate) struct Version {
    pub(crate) since: Micros,
    pub(crate) value: Option<String>,
    pub(crate) revision: u64,
}

impl Ledger {
    pub(crate) fn begin(&mut self, now: Micros, host: usize, key: &str, asked: Asked) -> usize {
        self.calls.push(Call {
            host,
            key: key.to_owned(),
            asked,
            began: now,
            ended: false,
            requests: 0,
            sets: 0,
            watches: 0,
            stored: BTreeSet::new(),
            removed: BTreeSet::new(),
            napped: 0,
            naps: 0,
        });
        self.calls.len() - 1
    }

    pub(crate) fn sent(&mut self, host: usize, call: Option<usize>, request: &Request) {
        if let Request::Set { value, .. } = request {
            self.minted.entry(value.clone()).or_insert(host);
        }
        if let Some(call) = call.map(|call| &mut self.calls[call]) {
            call.requests += 1;
            match request {
                Request::Set { value, .. } => {
                    call.sets += 1;
                    call.stored.insert(value.clone());
                }
                Request::Watch { .. } => call.watches += 1,
                _ => {}
            }
        }
    }

    /// What a request that the server has taken did to what lies there.
    pub(crate) fn applied(&mut self, now: Micros, message: &Message, before: &Table, after: &Table) {
        let key = message.request.key();
        let (was, is) = (before.slots.get(key), after.slots.get(key));
        if was != is {
            let call = message.call.map(|call| &mut self.calls[call]);
            let created = is.filter(|is| was.is_none_or(|was| was.value != is.value));
            let asked_ms = call.as_ref().and_then(|call| match call.asked {
                Asked::Lock { ttl_ms, .. } | Asked::Extend { ttl_ms, .. } => Some(ttl_ms),
                Asked::Unlock { .. } | Asked::Inspect => None,
            });
            if let Some(removed) = was.filter(|was| is.is_none_or(|is| is.value != was.value)) {
                if let Some(call) = call {
                    call.removed.insert(removed.value.clone());
                }
                self.removed(message, &removed.value);
            }
            if let Some(is) = is {
                let most = now + asked_ms.unwrap_or(DEFAULT_TTL_MS) * MILLISECOND;
                let longest = self.longest.entry(is.value.clone()).or_default();
                *longest = most.max(*longest);
            }
            if let Some(created) = created {
                let revision = after.fences.get(key).copied().unwrap_or(0);
                let (key, value) = (key.to_owned(), created.value.clone());
                self.created(message, &value);
                self.created.push(Created { key, value, revision });
            }
        }
        self.observe(now, after);
    }

    /// Notes what lies there now.
    pub(crate) fn observe(&mut self, now: Micros, table: &Table) {
        for (key, slot) in &table.slots {
            let value = Some(&slot.value).filter(|_| slot.expires > now);
            self.note(now, key, value, table.fences.get(key).copied().unwrap_or(0));
        }
        let gone = self.versions.keys().filter(|key| !table.slots.contains_key(*key));
        for key in gone.cloned().collect::<Vec<_>>() {
            self.note(now, &key, None, 0);
        }
    }

    fn note(&mut self, now: Micros, key: &str, value: Option<&String>, revision: u64) {
        let nothing = || vec![Version { since: 0, value: None, revision: 0 }];
        let versions = self.versions.entry(key.to_owned()).or_insert_with(nothing);
        if versions
            .last()
            .is_none_or(|last| last.value.as_ref() != value || value.is_some() && last.revision != revision)
        {
            versions.push(Version { since: now, value: value.cloned(), revision });
        }
    }

    /// What lay under the name of a call at any time since it began.
    pub(crate) fn seen_by(&self, call: &Call) -> impl Iterator<Item = &Version> {
        const NOTHING: &[Version] = &[Version { since: 0, value: None, revision: 0 }];
        let versions = self.versions.get(&call.key).map_or(NOTHING, Vec::as_slice);
        let first = versions.iter().rposition(|version| version.since < call.began).unwrap_or(0);
        versions[first..].iter()
    }

    /// The store has lost what it had confirmed, or some of it. Whoever held a lock then holds it no more, and is not told.
    pub(crate) fn broke(&mut self, now: Micros, table: &Table) {
        self.broke = Some(now);
        self.given_back.clear();
        for grant in &mut self.grants {
            grant.lost |= !covers(table, grant);
        }
        self.observe(now, table);
    }

    pub(crate) fn violate(&mut self, invariant: Invariant, what: String) {
        if self.violation.is_none() {
            self.violation = Some(Violation { invariant, what });
        }
    }
}

/// Whether a lease lies in the store for as long as its holder may believe.
pub(crate) fn covers(table: &Table, grant: &Grant) -> bool {
    table.slots.get(&grant.key).is_some_and(|slot| slot.value == grant.token && slot.expires >= grant.deadline)
}
