//! What is checked when the server has taken a request.

use crate::invariants::Invariant;
use crate::ledger::{Asked, Effect, Ledger};
use crate::network::Message;
use crate::request::{Applied, Outcome, Step};
use crate::table::Table;
use crate::world::{TAKEOVER, name_of};

impl Ledger {
    /// A value was removed, or replaced.
    pub(crate) fn removed(&mut self, message: &Message, value: &str) {
        if self.minted.get(value).map(|minted| minted.host) != Some(message.host) {
            let what = format!("{} removed {}", name_of(message.host), self.whose(value));
            self.violate(Invariant::ReleasesRemoveOnlyTheirOwn, what);
        }
    }

    /// A value came to be in the store: its caller asked for it, or it was handed to a waiter.
    pub(crate) fn created(&mut self, effect: &Effect<'_>, after: &Table, value: &str) {
        let Effect { message, before, .. } = effect;
        let key = message.request.step.key();
        let own = message.request.step.may_store() == Some(value);
        let locks = message.call.is_some_and(|call| matches!(self.calls[call].asked, Asked::Lock { .. }));
        let queued = before.is_queued(key, value);
        let second_half = matches!(message.request.step, Step::Store { .. });
        if !(queued || second_half || (own && locks)) {
            let what = format!("{} stored {} otherwise", name_of(message.host), self.whose(value));
            return self.violate(Invariant::OnlyLocksTakeLocks, what);
        }
        if own && !queued {
            self.check_owner(message, value);
        }
        self.check_order(effect, value, queued);
        if !own && (!self.handed_off.insert(value.to_owned()) || after.is_queued(key, value)) {
            let what = format!("{} was handed to {} and stays in the queue", key, self.whose(value));
            self.violate(Invariant::DeadWaitersCostOneLease, what);
        }
    }

    /// A request that comes after its call was answered stores nothing.
    fn check_owner(&mut self, message: &Message, value: &str) {
        let Some(call) = message.call.map(|call| &self.calls[call]) else { return };
        let pending = self.failed.iter().any(|(_, failed)| failed == value) || self.gone.contains_key(&message.host);
        let broke = self.broke.is_some_and(|broke| broke >= call.began);
        if call.ended.is_some() && !pending && !broke {
            let what = format!("{} was stored after its call had ended", self.whose(value));
            self.violate(Invariant::FailedCallsLeaveNothing, what);
        }
    }

    fn check_order(&mut self, effect: &Effect<'_>, value: &str, queued: bool) {
        let place = |value: &str| self.tickets.get(value).copied().unwrap_or(u64::MAX);
        let ours = place(value);
        let overtaken = effect.live.iter().find(|live| *live != value && place(live) < ours);
        if let Some(overtaken) = overtaken {
            let what = format!("{} comes before {}", self.whose(value), self.whose(overtaken));
            let invariant = if queued { Invariant::FirstComeFirstServed } else { Invariant::AttemptsOvertakeNoWaiter };
            self.violate(invariant, what);
        }
    }

    /// The waiter whose request it is, and all others that are live, stay in the queue unless they get the lock.
    pub(crate) fn check_kept(&mut self, effect: &Effect<'_>, after: &Table) {
        let step = &effect.message.request.step;
        let leaves = matches!(step, Step::Set { last: true, .. });
        let queued = matches!(effect.applied, Applied::Outcome(Outcome::Queued(_)));
        let own = step.may_store();
        let kept = |value: &str| {
            let has_it = after.slots.get(step.key()).is_some_and(|slot| slot.value == value);
            has_it || after.is_queued(step.key(), value) || matches!(effect.applied, Applied::Then(_))
        };
        let others = effect.live.iter().map(String::as_str).filter(|value| !leaves || own != Some(*value));
        let dropped = others.chain(own.filter(|_| queued)).find(|value| !kept(value)).map(str::to_owned);
        if let Some(dropped) = dropped {
            let what = format!("{} waits for {} and is dropped", self.whose(&dropped), step.key());
            self.violate(Invariant::NoWaiterIsDropped, what);
        }
    }

    /// A request takes effect only while its client may wait for it. After a failover the difference of the servers' clocks adds to that.
    pub(crate) fn check_time(&mut self, effect: &Effect<'_>, after: &Table) {
        let Effect { now, message, before, .. } = effect;
        let step = &message.request.step;
        let halves = matches!(step, Step::Remove { .. } | Step::Expire { .. } | Step::Store { .. });
        if halves || matches!(step, Step::Write { .. } | Step::Subscribe) || *before == after {
            return;
        }
        let took_over = self.took_over.is_some_and(|took_over| took_over + crate::process::TIMEOUT > message.gives_up);
        let allowed = if took_over { TAKEOVER } else { 0 };
        if after.wall(*now) > message.request.use_by || *now > message.gives_up + allowed {
            let what = format!("a request of {} does", name_of(message.host));
            self.violate(Invariant::NothingHappensLate, what);
        }
    }

    /// Each grant has a fence of its own, and it is higher than all before.
    pub(crate) fn check_fences(&mut self, effect: &Effect<'_>, after: &Table) {
        let key = effect.message.request.step.key();
        let (was, is) = (effect.before.slots.get(key), after.slots.get(key));
        let Some(is) = is.filter(|is| was.is_none_or(|was| was.value != is.value)) else { return };
        let mut repeated = self.created.iter().filter(|created| created.key == key && created.fence >= is.fence);
        if let Some(other) = repeated.next() {
            let what = format!("{} has the fence {}, and {} was granted before", key, is.fence, other.fence);
            let repeated = other.fence == is.fence;
            self.violate(if repeated { Invariant::FencesNeverRepeat } else { Invariant::FencesRise }, what);
        }
    }

    pub(crate) fn whose(&self, value: &str) -> String {
        self.minted
            .get(value)
            .map_or("a foreign value".to_owned(), |minted| format!("a value of {}", name_of(minted.host)))
    }
}
