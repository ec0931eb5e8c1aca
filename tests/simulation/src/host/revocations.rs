//! Callers that take locks from their holders, and what holders learn of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use locker_host::UnlockOutcome;
use tokio::time::sleep;

use super::asked::{Asked, label_of};
use super::caller::{Caller, RECOVERY};
use super::invariants::HostInvariant::{ReleasesTellTheTruth, RevocationsAreFenced, RevocationsAreReported};
use super::ledger::Ledger;
use super::variants::Flaw;

/// How long after it took the lock a holder begins to listen, and the longest that it takes to tell it then.
const LISTENS_AFTER: Duration = Duration::from_millis(100);
const MOST_UNTOLD: Duration = Duration::from_millis(500);

/// What was revoked, and by whom.
#[derive(Debug, Default)]
pub(super) struct Revocations {
    /// What processes have asked for: the name, and the fence if there was one.
    asked: BTreeSet<(usize, String, Option<u64>)>,
    /// The values that were taken from their holders.
    taken: BTreeMap<String, Taken>,
}

#[derive(Debug)]
struct Taken {
    name: String,
    /// When the first site deleted it, and when the last one did. None if a script failed that may have done so before.
    first: Option<Duration>,
    last: Option<Duration>,
    /// The highest fence that the value had then.
    fence: u64,
    /// It may have been deleted by the release of its holder, in the same process.
    may_be_released: bool,
    /// When which process was told so.
    said: Option<(Duration, usize)>,
}

/// A guard, and since when it is there.
pub(super) struct Held<'a> {
    pub(super) process: usize,
    pub(super) token: &'a str,
    pub(super) ttl: Duration,
    pub(super) granted: Duration,
}

impl Revocations {
    pub(super) fn was_taken(&self, value: &str) -> bool {
        self.taken.contains_key(value)
    }

    /// Whether a value was taken that had this fence, or a higher one.
    pub(super) fn took(&self, value: &str, fence: u64) -> bool {
        self.taken.get(value).is_some_and(|taken| fence <= taken.fence)
    }
}

impl Ledger {
    /// A site deleted a value. No process takes a lock from another's holder but by its fence.
    pub(super) fn takes(&mut self, process: usize, asked: &Asked, outcome: Option<&str>, now: Duration) {
        let deletes = matches!(
            (&asked.what[..], outcome),
            ("delete", Some("deleted") | None) | ("withdraw", Some("withdrawn") | None)
        );
        let (Some(name), Some(value), true) = (asked.lock(), asked.value(), deletes) else { return };
        let Some(seen) = self.seen.get(value) else { return };
        let is_asked = self.revocations.asked.iter().any(|(by, of, fence)| {
            *by == process && of == name && fence.is_none_or(|fence| seen.fences.contains(&fence))
        });
        if is_asked {
            let first = outcome.map(|_| now);
            let mut own = self.leases.iter().filter(|lease| lease.token == value && lease.process == process);
            let may_be_released = own.any(|lease| lease.ended);
            let new = || Taken { name: name.to_owned(), first, last: first, fence: 0, may_be_released, said: None };
            let fence = seen.fences.last().copied().unwrap_or_default();
            let taken = self.revocations.taken.entry(value.to_owned()).or_insert_with(new);
            if taken.fence < fence {
                // It may have had the lock before, and may not have known.
                *taken = Taken { fence, ..new() };
            }
            taken.first = taken.first.or(first);
            taken.last = taken.last.max(first);
            return;
        }
        let is_own = self.calls.get(label_of(value)).is_some_and(|call| call.process == process);
        if asked.what == "delete" && outcome.is_some() && !is_own {
            self.violated(RevocationsAreFenced, format!("p{process} takes {name} from {value}"));
        }
    }

    /// A caller was told that it revoked the lock with this fence, or any.
    fn revoked(&mut self, process: usize, name: &str, fence: Option<u64>, (started, now): (Duration, Duration)) {
        let Self { revocations, seen, .. } = self;
        let had = |value: &str, fence| seen.get(value).is_some_and(|seen| seen.fences.contains(&fence));
        let taken = revocations.taken.iter_mut().filter(|(value, taken)| {
            taken.name == name && fence.map_or(taken.last >= Some(started), |fence| had(value, fence))
        });
        let mut is_true = false;
        for (_, taken) in taken {
            is_true = true;
            if !taken.may_be_released {
                taken.said.get_or_insert((now, process));
            }
        }
        let entry = self.truths.get(name).and_then(|truth| truth.entry.as_ref());
        let is_there = entry.is_some_and(|entry| Some(entry.fence) == fence);
        if (!is_true || is_there) && self.losses + self.survived == 0 {
            let what =
                format!("p{process} is told that it revoked {name} with {fence:?}: {is_true}, still there: {is_there}");
            self.violated(ReleasesTellTheTruth, what);
        }
    }

    /// What was revoked, and is said to be, is not the holder's again.
    pub(super) fn check_revoked(&mut self, value: &str, fence: u64) {
        let said = self.revocations.taken.get(value).filter(|taken| fence <= taken.fence).and_then(|taken| taken.said);
        if let (Some((said, _)), 0) = (said, self.losses + self.survived) {
            self.violated(ReleasesTellTheTruth, format!("{value} has its lock again, which was revoked at {said:?}"));
        }
    }

    /// A guard of a lock that was revoked reports its loss in time. It does so now, or does not know yet.
    pub(super) fn check_told(&mut self, held: &Held<'_>, now: Duration) {
        let Held { process, token, ttl, granted } = *held;
        let fence = self.lease(token).map(|lease| lease.fence);
        let taken = self.revocations.taken.get(token).filter(|taken| fence.is_some_and(|fence| fence <= taken.fence));
        let Some((taken, first)) = taken.and_then(|taken| Some((taken, taken.first?))) else { return };
        let told = MOST_UNTOLD + self.confirmed_within;
        let mut limits = Vec::new();
        if !self.is_quorum() && self.losses == 0 {
            // No extension succeeds any more.
            limits.push(("its lease is over", first + ttl));
        }
        if !self.is_quorum() && self.is_healthy(process, first.saturating_sub(RECOVERY)) {
            limits.push(("it renews the lock", first + ttl / 3 + told));
        }
        if let Some((said, by)) = taken.said
            && [process, by].into_iter().all(|process| self.is_healthy(process, first.saturating_sub(RECOVERY)))
            && (!self.is_quorum() || self.is_calm())
        {
            limits.push(("it is told", said.max(granted + LISTENS_AFTER) + told));
        }
        let late = limits.into_iter().find(|(_, limit)| now > *limit);
        if let Some((why, limit)) = late {
            let what =
                format!("{token} was revoked at {first:?}, and {why} by {limit:?}, and does not know at {now:?}");
            self.violated(RevocationsAreReported, what);
        }
    }
}

impl Caller {
    /// Takes a lock from its holder.
    pub(super) async fn revoke(&self, name: &str, fenced: bool, late: Duration) {
        let fence = if fenced {
            let started = self.world.now();
            match self.locker.inspect(name).await {
                Ok(Some(holder)) => Some(holder.fence).filter(|fence| *fence > 0),
                Ok(None) => None,
                Err(error) => return self.failed(&error, started),
            }
        } else {
            None
        };
        if fenced && fence.is_none() {
            return;
        }
        sleep(late).await;
        let started = self.world.now();
        self.world.tell(|| format!("p{} revokes {name} with {fence:?}", self.process));
        self.world.ledger(|ledger, _| _ = ledger.revocations.asked.insert((self.process, name.to_owned(), fence)));
        let named = fence.filter(|_| self.world.flaw() != Some(Flaw::RevokesAnyFence));
        let answer = self.locker.revoke(name, named).await;
        self.world.tell(|| format!("p{} is told: {:?}", self.process, answer.as_ref().ok()));
        // Without a fence, it looks for the holder first; and it tells the holder.
        self.ends_in_time(started, 2 * super::caller::LONGEST, "a revocation");
        match answer {
            Ok(UnlockOutcome::Released) => self.world.ledger(|ledger, now| {
                ledger.revoked(self.process, name, fence, (started, now));
            }),
            Ok(UnlockOutcome::Absent | UnlockOutcome::HeldByOther) => self.world.ledger(|ledger, now| {
                let lease = ledger.valid(now).find(|lease| lease.name == name && Some(lease.fence) == fence);
                let token = lease.map(|lease| lease.token.clone());
                if let (Some(token), false) = (token, ledger.is_quorum()) {
                    let what = format!("{token} has {name} with {fence:?}, and p{} is told {answer:?}", self.process);
                    ledger.violated(ReleasesTellTheTruth, what);
                }
            }),
            Err(error) => self.failed(&error, started),
        }
    }
}
