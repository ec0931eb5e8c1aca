//! What is checked when a call is answered.

use crate::guest::{ExtendOutcome, Holder, Lease, UnlockOutcome};
use crate::invariants::Invariant;
use crate::ledger::{Asked, Call, Created, Grant, Ledger};
use crate::table::{MILLISECOND, Micros};
use crate::world::name_of;

impl Ledger {
    /// A caller was granted a lock. Returns the number of the grant.
    pub(crate) fn granted(&mut self, now: Micros, call: usize, lease: &Lease, deadline: Micros) -> usize {
        let Call { host, ref key, began, .. } = self.calls[call];
        let (key, token, fence) = (key.clone(), lease.token.clone(), lease.fence);
        let order = self.order(&key, &token, fence);
        let grant =
            Grant { host, key, token, fence, order, answered: now, deadline, over: false, lost: self.was_lost(order) };
        self.check_fence(&grant, began);
        self.grants.push(grant);
        // A caller that goes on at once may have released it before the step is over.
        self.check_holders(now);
        self.grants.len() - 1
    }

    /// A caller was told that another holds the lock.
    pub(crate) fn held(&mut self, now: Micros, call: usize, holder: &Holder) {
        let Call { began, ref asked, ref stored, .. } = self.calls[call];
        let early = matches!(asked, Asked::Lock { wait_ms, .. } if now < began + wait_ms * MILLISECOND);
        let itself = {
            let mut seen = self.seen_by(&self.calls[call]).filter(|version| version.fence == holder.fence);
            let own = |value: &Option<String>| value.as_ref().is_some_and(|value| stored.contains(value));
            seen.next().is_some_and(|first| own(&first.value)) && seen.all(|version| own(&version.value))
        };
        if early {
            self.violate(Invariant::NoCallGivesUpEarly, "it was told that the lock is held".to_owned());
        }
        if itself {
            self.violate(Invariant::NoCallRefusesItself, format!("it holds the fence {} itself", holder.fence));
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

    pub(crate) fn extended(&mut self, now: Micros, call: usize, grant: usize, outcome: &ExtendOutcome) {
        let token = self.grants[grant].token.clone();
        let was = |what: &dyn Fn(Option<&str>) -> bool| {
            self.seen_by(&self.calls[call]).any(|version| what(version.value.as_deref()))
        };
        let true_ = match outcome {
            ExtendOutcome::Extended(lease) => lease.token == token && was(&|value| value == Some(&token)),
            ExtendOutcome::Absent => was(&|value| value.is_none()),
            ExtendOutcome::HeldByOther => was(&|value| value.is_some_and(|value| value != token)),
        };
        if !true_ {
            self.violate(Invariant::ExtensionsTellTheTruth, format!("it was told: {}", shown(outcome)));
        }
        let ExtendOutcome::Extended(lease) = outcome else {
            self.grants[grant].over = true;
            return;
        };
        let key = self.grants[grant].key.clone();
        let (fence, deadline) = (lease.fence, now + lease.ttl_ms * MILLISECOND);
        let order = self.order(&key, &token, fence);
        let lost = self.was_lost(order);
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
            // With its reply lost, a caller cannot know whether the other holder came before or after.
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

    /// A guarded resource has taken a write.
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
        call.ended = Some(now);
        let (began, slept) = (call.began, call.slept);
        let wait_ms = if let Asked::Lock { wait_ms, .. } = call.asked { wait_ms } else { 0 };
        if slept > wait_ms * MILLISECOND {
            let what = format!("it was to wait for {wait_ms} ms and took {} ms", (now - began) / MILLISECOND);
            self.violate(Invariant::EveryCallEnds, what);
        }
    }

    /// The guest was stopped, or says what it never should.
    pub(crate) fn stopped(&mut self, call: usize, why: &str) {
        let what = format!("{} {}: {why}", name_of(self.calls[call].host), self.calls[call].asked.verb());
        self.violate(Invariant::EveryCallEnds, what);
    }

    pub(crate) fn check_holders(&mut self, now: Micros) {
        let two = self.live(now).enumerate().find_map(|(place, grant)| {
            let other = self.live(now).take(place).find(|other| other.key == grant.key)?;
            Some(format!("{} and {} hold {}", name_of(other.host), name_of(grant.host), grant.key))
        });
        if let Some(two) = two {
            self.violate(Invariant::AtMostOneHolder, two);
        }
    }

    /// When a value came to be in the store, among all values.
    fn order(&self, key: &str, token: &str, fence: u64) -> usize {
        let ours = |created: &&Created| created.key == key && created.value == token;
        let exactly = self.created.iter().rposition(|created| ours(&created) && created.fence == fence);
        exactly.or_else(|| self.created.iter().rposition(|created| ours(&created))).unwrap_or(self.created.len())
    }

    /// Whether the store may have lost what it stored then.
    fn was_lost(&self, order: usize) -> bool {
        let at = self.created.get(order).map_or(0, |created| created.at);
        self.broke.is_some_and(|broke| broke >= at)
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
            (Some(holder), Some(value)) => holder.fence == version.fence && holder.owner.as_deref() == label(value),
            _ => false,
        });
        // During a grace, callers are told of the waiter that is expected.
        let awaited = holder.filter(|holder| holder.fence == 0).is_some_and(|holder| {
            let mut awaited = self.awaited.get(&self.calls[call].key).into_iter().flatten();
            awaited.any(|value| holder.owner.as_deref() == label(value))
        });
        if self.minted.keys().any(secret) {
            self.violate(Invariant::TokensStaySecret, format!("the owner is said to be {owner:?}"));
        }
        if !real && !awaited {
            let what = holder.map_or("no holder".to_owned(), |holder| format!("{owner:?} with fence {}", holder.fence));
            self.violate(Invariant::HoldersAreReal, format!("it was told of {what}"));
        }
    }
}

fn shown(outcome: &ExtendOutcome) -> String {
    match outcome {
        ExtendOutcome::Extended(lease) => format!("extended, with fence {}", lease.fence),
        refused => format!("{refused:?}"),
    }
}

/// The label in a token.
fn label(value: &str) -> Option<&str> {
    value.rsplit_once(':').map(|(label, _)| label)
}
