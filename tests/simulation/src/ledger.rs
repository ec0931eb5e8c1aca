//! What has happened, including what no client can know: the invariants are checked against it.

use std::collections::{BTreeMap, BTreeSet};

use crate::invariants::{Invariant, Violation};
use crate::network::Message;
use crate::request::{Applied, Outcome, Step};
use crate::table::{DEFAULT_TTL_MS, MILLISECOND, Micros, Table};

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) calls: Vec<Call>,
    pub(crate) grants: Vec<Grant>,
    /// What came to be in the store, in the order in which it did.
    pub(crate) created: Vec<Created>,
    /// What was under each name, and since when.
    pub(crate) versions: BTreeMap<String, Vec<Version>>,
    /// Who first asked to store a value.
    pub(crate) minted: BTreeMap<String, Minted>,
    /// How long a value may be in the store at most.
    pub(crate) longest: BTreeMap<String, Micros>,
    /// The tickets of waiters: from when they came, or from when they were moved for a reason.
    pub(crate) tickets: BTreeMap<String, u64>,
    /// Values that were handed off and not asked for since.
    pub(crate) handed_off: BTreeSet<String>,
    /// Who was said to be waited for after a failover, under each name.
    pub(crate) awaited: BTreeMap<String, BTreeSet<String>>,
    /// When a waiter of each name was last heard of.
    pub(crate) reported: BTreeMap<String, Micros>,
    /// Values that a failed call has left behind, and whose they are. Their withdrawal is under way.
    pub(crate) failed: Vec<(usize, String)>,
    /// Values that must be neither in the store nor in a queue any more.
    pub(crate) withdrawn: Vec<String>,
    /// The clients that are gone, and since when.
    pub(crate) gone: BTreeMap<usize, Micros>,
    /// Whose write a lock's resource has taken last, by the order of what was created.
    pub(crate) writer: BTreeMap<String, usize>,
    /// When the store last lost what it had confirmed.
    pub(crate) broke: Option<Micros>,
    /// When another server last took over.
    pub(crate) took_over: Option<Micros>,
    pub(crate) violation: Option<Violation>,
}

/// Whose a value is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Minted {
    pub(crate) host: usize,
    pub(crate) call: Option<usize>,
    /// The time to live that its caller asked for.
    pub(crate) ttl_ms: u64,
}

/// A call into the guest.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) host: usize,
    pub(crate) key: String,
    pub(crate) asked: Asked,
    pub(crate) began: Micros,
    pub(crate) ended: Option<Micros>,
    pub(crate) requests: usize,
    /// How many of its requests were attempts without a wait.
    pub(crate) attempts: usize,
    /// What it has asked to store.
    pub(crate) stored: BTreeSet<String>,
    /// What its requests have deleted.
    pub(crate) removed: BTreeSet<String>,
    /// How long it has waited of its own will.
    pub(crate) slept: Micros,
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
    pub(crate) fence: u64,
    pub(crate) at: Micros,
}

#[derive(Debug)]
pub(crate) struct Version {
    pub(crate) since: Micros,
    pub(crate) value: Option<String>,
    pub(crate) fence: u64,
}

/// What a request that the server has taken did.
pub(crate) struct Effect<'a> {
    pub(crate) now: Micros,
    pub(crate) message: &'a Message,
    pub(crate) before: &'a Table,
    /// The values in the queue whose callers were live.
    pub(crate) live: &'a [String],
    pub(crate) applied: &'a Applied,
}

impl Ledger {
    pub(crate) fn begin(&mut self, now: Micros, host: usize, key: &str, asked: Asked) -> usize {
        self.calls.push(Call {
            host,
            key: key.to_owned(),
            asked,
            began: now,
            ended: None,
            requests: 0,
            attempts: 0,
            stored: BTreeSet::new(),
            removed: BTreeSet::new(),
            slept: 0,
        });
        self.calls.len() - 1
    }

    pub(crate) fn sent(&mut self, host: usize, call: Option<usize>, step: &Step) {
        let asked = call.map(|call| &self.calls[call].asked);
        let ttl_ms = if let Some(Asked::Lock { ttl_ms, .. }) = asked { *ttl_ms } else { DEFAULT_TTL_MS };
        let value = step.may_store();
        if let Some(value) = value {
            self.minted.entry(value.to_owned()).or_insert(Minted { host, call, ttl_ms });
        }
        if let Some(call) = call.map(|call| &mut self.calls[call]) {
            call.requests += 1;
            call.attempts += usize::from(matches!(step, Step::Set { last: false, .. }));
            call.stored.extend(value.map(str::to_owned));
        }
    }

    /// Notes what a request did, and checks that it was right.
    pub(crate) fn applied(&mut self, effect: &Effect<'_>, after: &Table) {
        let key = effect.message.request.step.key();
        self.check_time(effect, after);
        self.check_fences(effect, after);
        self.check_kept(effect, after);
        let (was, is) = (effect.before.slots.get(key), after.slots.get(key));
        if was != is {
            if let Some(removed) = was.filter(|was| is.is_none_or(|is| is.value != was.value)) {
                if let Some(call) = effect.message.call {
                    self.calls[call].removed.insert(removed.value.clone());
                }
                self.removed(effect.message, &removed.value);
            }
            if let Some(is) = is {
                self.note_longest(effect, &is.value);
            }
            if let Some(is) = is.filter(|is| was.is_none_or(|was| was.value != is.value)) {
                self.created(effect, after, &is.value);
                let (key, value) = (key.to_owned(), is.value.clone());
                self.created.push(Created { key, value, fence: is.fence, at: effect.now });
            }
        }
        self.note_waiters(effect, after);
        self.observe(effect.now, after);
    }

    fn note_longest(&mut self, effect: &Effect<'_>, value: &str) {
        let asked = effect.message.call.map(|call| &self.calls[call].asked);
        let ttl_ms = match (&effect.message.request.step, asked) {
            (Step::Extend { value: extended, .. }, Some(Asked::Extend { ttl_ms, .. })) if extended == value => *ttl_ms,
            _ => self.minted.get(value).map_or(0, |minted| minted.ttl_ms),
        };
        let longest = self.longest.entry(value.to_owned()).or_default();
        *longest = (effect.now + ttl_ms * MILLISECOND).max(*longest);
    }

    /// Notes who came, who was told what, and who was moved for a reason.
    fn note_waiters(&mut self, effect: &Effect<'_>, after: &Table) {
        let step = &effect.message.request.step;
        let (key, live) = (step.key(), effect.live);
        if let Step::Enqueue { value, .. } = step {
            self.reported.insert(key.to_owned(), effect.now);
            self.handed_off.remove(value);
        }
        if let Applied::Outcome(Outcome::Occupied(entry)) = effect.applied
            && entry.revision == 0
        {
            self.awaited.entry(key.to_owned()).or_default().insert(entry.value.clone());
        }
        for entry in after.queues.get(key).map_or(&[][..], |queue| &queue.entries) {
            let before = effect.before.queue_entry(key, &entry.value);
            let moved = before.is_some_and(|before| before.ticket != entry.ticket) && !live.contains(&entry.value);
            if moved || before.is_none() {
                self.tickets.insert(entry.value.clone(), entry.ticket);
            }
            // A ticket that the server has given is later than those before it.
            let new =
                matches!(step, Step::Enqueue { value, ticket: 0, .. } if *value == entry.value) && before.is_none();
            let ahead = |other: &&String| self.tickets.get(*other).is_some_and(|ticket| *ticket >= entry.ticket);
            if new && let Some(overtaken) = live.iter().find(ahead) {
                let what = format!("{} is queued before {}", self.whose(&entry.value), self.whose(overtaken));
                self.violate(Invariant::FirstComeFirstServed, what);
            }
        }
    }

    /// Notes what there is now.
    pub(crate) fn observe(&mut self, now: Micros, table: &Table) {
        for (key, slot) in &table.slots {
            let value = Some(&slot.value).filter(|_| slot.expires > now);
            self.note(now, key, value, slot.fence);
        }
        let gone = self.versions.keys().filter(|key| !table.slots.contains_key(*key));
        for key in gone.cloned().collect::<Vec<_>>() {
            self.note(now, &key, None, 0);
        }
    }

    fn note(&mut self, now: Micros, key: &str, value: Option<&String>, fence: u64) {
        let nothing = || vec![Version { since: 0, value: None, fence: 0 }];
        let versions = self.versions.entry(key.to_owned()).or_insert_with(nothing);
        if versions.last().is_none_or(|last| last.value.as_ref() != value || value.is_some() && last.fence != fence) {
            versions.push(Version { since: now, value: value.cloned(), fence });
        }
    }

    /// What was under the name of a call at any time since it began.
    pub(crate) fn seen_by(&self, call: &Call) -> impl Iterator<Item = &Version> {
        const NOTHING: &[Version] = &[Version { since: 0, value: None, fence: 0 }];
        let versions = self.versions.get(&call.key).map_or(NOTHING, Vec::as_slice);
        let first = versions.iter().rposition(|version| version.since < call.began).unwrap_or(0);
        versions[first..].iter()
    }

    /// The store has lost what it had confirmed, or some of it. The holders are not told.
    pub(crate) fn broke(&mut self, now: Micros, table: &Table) {
        self.broke = Some(now);
        self.withdrawn.clear();
        self.handed_off.clear();
        for grant in &mut self.grants {
            grant.lost |= !covers(table, grant);
        }
        self.observe(now, table);
    }

    /// A client is gone: nothing of it will be withdrawn.
    pub(crate) fn crashed(&mut self, now: Micros, host: usize) {
        self.failed.retain(|(owner, _)| *owner != host);
        self.gone.insert(host, now);
    }

    pub(crate) fn violate(&mut self, invariant: Invariant, what: String) {
        if self.violation.is_none() {
            self.violation = Some(Violation { invariant, what });
        }
    }
}

/// Whether a lease is in the store for as long as its holder may believe.
pub(crate) fn covers(table: &Table, grant: &Grant) -> bool {
    table.slots.get(&grant.key).is_some_and(|slot| slot.value == grant.token && slot.expires >= grant.deadline)
}
