//! What must be so in every world, and after every step.

use std::fmt;

use crate::guest::{ExtendOutcome, Holder, Lease, UnlockOutcome};
use crate::ledger::{Asked, Call, Grant, Ledger, covers};
use crate::network::Message;
use crate::store::{MILLISECOND, Micros, Table};
use crate::world::name_of;

/// What must be so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "each says in a sentence what it is")]
pub enum Invariant {
    AtMostOneHolder,
    LeasesLast,
    FencesRise,
    NoOlderWrite,
    ReleasesRemoveOnlyTheirOwn,
    ReleasesTellTheTruth,
    ExtensionsCreateNothing,
    ExtensionsTellTheTruth,
    NothingOutlivesItsTime,
    EveryCallEnds,
    NobodyGivesUpEarly,
    NobodyRefusesItself,
    HoldersAreReal,
    FailedCallsLeaveNothing,
    TokensStaySecret,
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AtMostOneHolder => "a name has at most one unexpired holder",
            Self::LeasesLast => "a lease lies in the store for as long as its holder counts on it",
            Self::FencesRise => "every later grant has a higher fence",
            Self::NoOlderWrite => "what a lock guards takes no older holder's write after a newer one's",
            Self::ReleasesRemoveOnlyTheirOwn => "nobody removes another's lock",
            Self::ReleasesTellTheTruth => "a release tells what became of the lock",
            Self::ExtensionsCreateNothing => "only a call that locks takes a lock",
            Self::ExtensionsTellTheTruth => "an extension tells what became of the lock",
            Self::NothingOutlivesItsTime => "nothing outlives its time to live",
            Self::EveryCallEnds => "every call ends",
            Self::NobodyGivesUpEarly => "nobody gives up before its wait is over",
            Self::NobodyRefusesItself => "no call is refused by what it stored itself",
            Self::HoldersAreReal => "who is told of a holder is told of one that there was",
            Self::FailedCallsLeaveNothing => "a call that failed leaves nothing in the store",
            Self::TokensStaySecret => "nobody is told another's token",
        })
    }
}

/// An invariant that does not hold, and how it shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What should have been so.
    pub invariant: Invariant,
    /// What was so.
    pub what: String,
}

/// More requests than any call should need.
const MANY: usize = 200;

/// What is checked when something happens.
impl Ledger {
    /// A value was removed, or replaced.
    pub(crate) fn removed(&mut self, message: &Message, value: &str) {
        if self.minted.get(value) != Some(&message.host) {
            let what = format!("{} removed {}", name_of(message.host), self.whose(value));
            self.violate(Invariant::ReleasesRemoveOnlyTheirOwn, what);
        }
    }

    /// A value came to lie in the store.
    pub(crate) fn created(&mut self, message: &Message, value: &str) {
        let locks = message.call.is_some_and(|call| matches!(self.calls[call].asked, Asked::Lock { .. }));
        if !locks {
            let what = format!("{} stored {} otherwise", name_of(message.host), self.whose(value));
            self.violate(Invariant::ExtensionsCreateNothing, what);
        }
    }

    /// A caller was granted a lock. Returns the number of the grant.
    pub(crate) fn granted(&mut self, now: Micros, call: usize, lease: &Lease, deadline: Micros) -> usize {
        let Call { host, ref key, began, .. } = self.calls[call];
        let (key, token, fence) = (key.clone(), lease.token.clone(), lease.fence);
        let order = self.order(&key, &token, fence);
        let grant = Grant {
            host,
            key,
            token,
            fence,
            order,
            answered: now,
            deadline,
            over: false,
            lost: self.lost_since(began),
        };
        self.check_fence(&grant, began);
        self.grants.push(grant);
        // Whoever goes on at once may have released it before the step is over.
        self.check_holders(now);
        self.grants.len() - 1
    }

    /// A caller was told that another holds the lock.
    pub(crate) fn held(&mut self, now: Micros, call: usize, holder: &Holder) {
        let Call { began, ref asked, ref stored, .. } = self.calls[call];
        let early = matches!(asked, Asked::Lock { wait_ms, .. } if now < began + wait_ms * MILLISECOND);
        let itself = {
            let mut seen = self.seen_by(&self.calls[call]).filter(|version| version.revision == holder.fence);
            let own = |value: &Option<String>| value.as_ref().is_some_and(|value| stored.contains(value));
            seen.next().is_some_and(|first| own(&first.value)) && seen.all(|version| own(&version.value))
        };
        if early {
            self.violate(Invariant::NobodyGivesUpEarly, "it was told that the lock is held".to_owned());
        }
        if itself {
            self.violate(Invariant::NobodyRefusesItself, format!("it holds the fence {} itself", holder.fence));
        }
        self.check_holder(call, Some(holder));
    }

    /// A caller looked who holds the lock.
    pub(crate) fn inspected(&mut self, call: usize, holder: Option<&Holder>) {
        self.check_holder(call, holder);
    }

    /// A caller is about to give a lock another time to live. It may be the shorter one from then on.
    pub(crate) fn extending(&mut self, grant: usize, deadline: Micros) {
        let grant = &mut self.grants[grant];
        grant.deadline = grant.deadline.min(deadline);
    }

    pub(crate) fn extended(&mut self, now: Micros, call: usize, grant: usize, outcome: &ExtendOutcome, asked: Micros) {
        let began = self.calls[call].began;
        let token = self.grants[grant].token.clone();
        let lay = |what: &dyn Fn(Option<&str>) -> bool| {
            self.seen_by(&self.calls[call]).any(|version| what(version.value.as_deref()))
        };
        let true_ = match outcome {
            ExtendOutcome::Extended(lease) => lease.token == token && lay(&|value| value == Some(&token)),
            ExtendOutcome::Absent => lay(&|value| value.is_none()),
            ExtendOutcome::HeldByOther => lay(&|value| value.is_some_and(|value| value != token)),
        };
        if !true_ {
            self.violate(Invariant::ExtensionsTellTheTruth, format!("it was told: {}", shown(outcome)));
        }
        let ExtendOutcome::Extended(lease) = outcome else {
            self.grants[grant].over = true;
            return;
        };
        let (key, lost) = (self.grants[grant].key.clone(), self.lost_since(began));
        let (fence, deadline) = (lease.fence, asked + lease.ttl_ms * MILLISECOND);
        let order = self.order(&key, &token, fence);
        let before = &mut self.grants[grant];
        if fence < before.fence {
            let what = format!("the fence was {} and is {fence}", before.fence);
            return self.violate(Invariant::FencesRise, what);
        }
        // A request that came late may have stored the token anew. That is another lease.
        *before = Grant { host: before.host, key, token, fence, order, answered: now, deadline, over: false, lost };
    }

    /// A caller is about to release its lock.
    pub(crate) fn releasing(&mut self, grant: usize) {
        self.grants[grant].over = true;
    }

    pub(crate) fn unlocked(&mut self, call: usize, outcome: UnlockOutcome) {
        let call = &self.calls[call];
        let Asked::Unlock { token } = &call.asked else { return };
        let removed = call.removed.contains(token);
        let told_the_truth = match outcome {
            UnlockOutcome::Released => removed,
            // Whose answer was lost cannot know whether the other that holds the lock came before or after.
            UnlockOutcome::Absent => removed || self.seen_by(call).any(|version| version.value.as_ref() != Some(token)),
            UnlockOutcome::HeldByOther => {
                !removed && self.seen_by(call).any(|version| version.value.as_ref().is_some_and(|value| value != token))
            }
        };
        if !told_the_truth {
            let what = format!("it was told {outcome:?}, and has {}removed it", if removed { "" } else { "not " });
            self.violate(Invariant::ReleasesTellTheTruth, what);
        }
    }

    /// What a lock guards has taken a write.
    pub(crate) fn written(&mut self, key: &str, grant: usize) {
        let Grant { order, fence, .. } = self.grants[grant];
        let last = self.writer.entry(key.to_owned()).or_insert(order);
        if order < *last {
            let what = format!("a write with fence {fence} was taken after that of a later holder");
            return self.violate(Invariant::NoOlderWrite, what);
        }
        *last = order;
    }

    pub(crate) fn end(&mut self, now: Micros, call: usize) {
        let call = &mut self.calls[call];
        call.ended = true;
        let (began, napped) = (call.began, call.napped);
        let wait_ms = if let Asked::Lock { wait_ms, .. } = call.asked { wait_ms } else { 0 };
        // Whoever is woken in vain is told what is left in whole milliseconds, rounded up.
        if napped > (wait_ms + call.naps) * MILLISECOND {
            let what = format!("it was to wait for {wait_ms} ms and took {} ms", (now - began) / MILLISECOND);
            self.violate(Invariant::EveryCallEnds, what);
        }
    }

    /// The guest was stopped, or says what it never should.
    pub(crate) fn stopped(&mut self, call: usize, why: &str) {
        let what = format!("{} {}: {why}", name_of(self.calls[call].host), self.calls[call].asked.verb());
        self.violate(Invariant::EveryCallEnds, what);
    }

    /// All is over.
    pub(crate) fn over(&mut self, table: &Table) {
        let left = table.slots.values().find(|slot| self.failed.iter().any(|(_, value)| *value == slot.value));
        if let Some(left) = left {
            let what = format!("{} is left", self.whose(&left.value));
            self.violate(Invariant::FailedCallsLeaveNothing, what);
        }
    }

    /// What callers may believe that they hold.
    fn live(&self, now: Micros) -> impl Iterator<Item = &Grant> {
        self.grants.iter().filter(move |grant| !grant.over && !grant.lost && grant.deadline > now)
    }

    fn check_holders(&mut self, now: Micros) {
        let two = self.live(now).enumerate().find_map(|(place, grant)| {
            let other = self.live(now).take(place).find(|other| other.key == grant.key)?;
            Some(format!("{} and {} hold {}", name_of(other.host), name_of(grant.host), grant.key))
        });
        if let Some(two) = two {
            self.violate(Invariant::AtMostOneHolder, two);
        }
    }

    /// When a thing came to lie in the store, among all things.
    fn order(&self, key: &str, token: &str, fence: u64) -> usize {
        let ours = |created: &&crate::ledger::Created| created.key == key && created.value == token;
        let exactly = self.created.iter().rposition(|created| ours(&created) && created.revision == fence);
        exactly.or_else(|| self.created.iter().rposition(|created| ours(&created))).unwrap_or(self.created.len())
    }

    fn lost_since(&self, began: Micros) -> bool {
        self.broke.is_some_and(|broke| broke >= began)
    }

    fn check_fence(&mut self, grant: &Grant, began: Micros) {
        let others = self.grants.iter().filter(|other| other.key == grant.key && other.token != grant.token);
        let mut wrong = others.filter(|other| {
            let earlier = other.order < grant.order || other.answered < began;
            if earlier { other.fence >= grant.fence } else { other.fence <= grant.fence }
        });
        if let Some(other) = wrong.next() {
            let what = format!("a grant with fence {} beside another with {}", grant.fence, other.fence);
            self.violate(Invariant::FencesRise, what);
        }
    }

    /// Whether a holder that was told of was there.
    fn check_holder(&mut self, call: usize, holder: Option<&Holder>) {
        let owner = holder.and_then(|holder| holder.owner.as_deref());
        let secret =
            |token: &String| owner.is_some_and(|owner| owner.contains(&token[token.len().saturating_sub(8)..]));
        let real = self.seen_by(&self.calls[call]).any(|version| match (holder, &version.value) {
            (None, None) => true,
            (Some(holder), Some(value)) => {
                let label = value.rsplit_once(':').map(|(label, _)| label);
                holder.fence == version.revision && holder.owner.as_deref() == label
            }
            _ => false,
        });
        if self.minted.keys().any(secret) {
            self.violate(Invariant::TokensStaySecret, format!("the owner is said to be {owner:?}"));
        }
        if !real {
            let what = holder.map_or("nobody".to_owned(), |holder| format!("{owner:?} with fence {}", holder.fence));
            self.violate(Invariant::HoldersAreReal, format!("it was told of {what}"));
        }
    }

    fn whose(&self, value: &str) -> String {
        self.minted.get(value).map_or("what is nobody's".to_owned(), |host| format!("what is {}'s", name_of(*host)))
    }
}

/// What is checked after each step.
impl Ledger {
    pub(crate) fn check(&mut self, now: Micros, table: &Table) {
        self.check_holders(now);
        let uncovered = self.live(now).find(|grant| !covers(table, grant)).map(|grant| {
            let (who, until) = (name_of(grant.host), grant.deadline / MILLISECOND);
            format!("{who} counts on {} until {until} ms", grant.key)
        });
        if let Some(what) = uncovered {
            return self.violate(Invariant::LeasesLast, what);
        }
        for (key, slot) in table.slots.iter().filter(|(_, slot)| slot.expires > now) {
            let allowed = self.longest.get(&slot.value).copied().unwrap_or(0);
            if slot.expires > allowed {
                let what = format!("{key} lies there for longer than anybody asked");
                return self.violate(Invariant::NothingOutlivesItsTime, what);
            }
            if self.given_back.contains(&slot.value) {
                let what = format!("{key} is held by {} for nobody", self.whose(&slot.value));
                return self.violate(Invariant::FailedCallsLeaveNothing, what);
            }
        }
        // What got lost is asked for twice, and between two attempts there is a wait.
        let busy = |call: &Call| !call.ended && (call.requests > MANY || call.sets > 2 * (1 + call.watches));
        if let Some(busy) = self.calls.iter().position(busy) {
            self.stopped(busy, "it asks and asks");
        }
    }
}

fn shown(outcome: &ExtendOutcome) -> String {
    match outcome {
        ExtendOutcome::Extended(lease) => format!("extended, with fence {}", lease.fence),
        refused => format!("{refused:?}"),
    }
}
