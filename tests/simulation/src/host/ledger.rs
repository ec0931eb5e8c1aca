//! Who holds which lock, as the callers know it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Weak;
use std::time::Duration;

use locker_host::Guard;

use super::completions::Completed;
use super::invariants::HostInvariant::{
    AtMostOneHolder, ExtensionsTellTheTruth, FencesIncrease, GrantsHaveTime, LeasesLast, OneFencePerLease,
    ReleasesTellTheTruth, WaitersAreTold, WritesAreFenced,
};
use super::invariants::{HostInvariant, HostViolation};
use super::plan::HostPlan;
use super::revocations::Revocations;
use super::truth::{Seen, Truth, Value};
use super::waiters::{Call, Reports, Waiter};

/// The longest that it takes to tell a waiter of its lock.
const MOST_UNTOLD: Duration = Duration::from_millis(250);

/// The clock of a member of a quorum differs from others by less than one part in so many.
pub(super) const CLOCKS_DIFFER_BY: u32 = 100;

#[derive(Default)]
pub(super) struct Ledger {
    /// How many sites there are, how many must be well for a call to succeed, and how many must agree.
    sites: usize,
    needed: usize,
    /// How long replicas take to confirm what the callers of a process wrote, one after the other.
    pub(super) confirmed_within: Duration,
    pub(super) majority: usize,
    pub(super) leases: Vec<Lease>,
    /// The calls that take locks, by their labels.
    pub(super) calls: BTreeMap<String, Call>,
    /// The values that servers were asked to store.
    pub(super) waiters: BTreeMap<String, Waiter>,
    /// What each client reported, by its channel.
    pub(super) reports: BTreeMap<String, Reports>,
    /// What is under the keys of locks.
    pub(super) truths: BTreeMap<&'static str, Truth>,
    /// All values that were stored by so many sites as must agree.
    pub(super) values: BTreeMap<String, Value>,
    /// The values that were withdrawn, from which site, and when last.
    pub(super) withdrawn: BTreeMap<(String, usize), Duration>,
    /// The votes that were withdrawn: the value, the site, and the ballots.
    pub(super) withdrawn_votes: Vec<(String, usize, RangeInclusive<u64>)>,
    /// The values whose withdrawal a site refused, since its user may not publish.
    pub(super) refused: BTreeSet<(String, usize)>,
    /// When each site last had a value.
    pub(super) seen: BTreeMap<String, Seen>,
    pub(super) stores: u64,
    pub(super) guards: Vec<(String, String, Weak<Guard>)>,
    /// The processes that crashed.
    pub(super) crashed: BTreeSet<usize>,
    resources: BTreeMap<String, (u64, u64)>,
    /// Until when something was wrong between a process and a site, or with the site.
    disturbed: BTreeMap<(Option<usize>, usize), Duration>,
    /// Until when a site was away that kept its data.
    restarted: BTreeMap<usize, Duration>,
    /// How often data was lost, or a clock was set.
    pub(super) losses: u64,
    /// When that was.
    pub(super) lost_at: Vec<Duration>,
    /// How often a minority of a quorum did.
    pub(super) survived: u64,
    /// When a replica last took over.
    pub(super) failed_over: Option<Duration>,
    /// A server's clock shows less than one did before.
    pub(super) clock_is_back: bool,
    /// A server lost its fences.
    pub(super) fences_are_lost: bool,
    /// What was revoked, and by whom.
    pub(super) revocations: Revocations,
    /// The work that was done for a period.
    pub(super) completed: Vec<Completed>,
    /// The tokens that callers chose.
    pub(super) chosen: BTreeSet<String>,
    pub(super) granted: usize,
    pub(super) failed: usize,
    pub(super) violation: Option<HostViolation>,
}

/// A caller believes that it holds the lock until the deadline, or until it ends the lease.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) name: String,
    pub(super) token: String,
    pub(super) process: usize,
    pub(super) fence: u64,
    pub(super) deadline: Duration,
    pub(super) ended: bool,
    /// The server lost data since it was stored.
    pub(super) excused: bool,
}

/// A grant as its caller learns of it.
pub(super) struct Granted<'a> {
    pub(super) process: usize,
    pub(super) name: &'a str,
    pub(super) token: &'a str,
    pub(super) fence: u64,
    pub(super) deadline: Duration,
}

impl Ledger {
    pub(super) fn new(plan: &HostPlan) -> Self {
        // On a server that took over, a script may have to be loaded before.
        let confirms = Duration::from_millis(8 * plan.lag_ms.unwrap_or(0) + 6 * plan.network.latency_ms);
        let confirmed_within = if plan.waits_for_replica { confirms } else { Duration::ZERO };
        Self {
            confirmed_within,
            sites: plan.clocks.len(),
            needed: plan.needed(),
            majority: plan.majority(),
            ..Self::default()
        }
    }

    pub(super) fn is_quorum(&self) -> bool {
        self.majority > 1
    }

    pub(super) fn violated(&mut self, invariant: HostInvariant, what: String) {
        self.violation.get_or_insert(HostViolation { invariant, what });
    }

    /// Fences increase after a loss of data, or after a clock was set back, but not after both.
    fn fences_are_excused(&self) -> bool {
        self.fences_are_lost && self.clock_is_back
    }

    /// Something is wrong until then between a process and a site, or with the site.
    pub(super) fn disturbed(&mut self, process: Option<usize>, site: usize, until: Duration) {
        let disturbed = self.disturbed.entry((process, site)).or_default();
        *disturbed = until.max(*disturbed);
    }

    /// A site starts again with its data.
    pub(super) fn restarts(&mut self, site: usize, until: Duration) {
        let restarted = self.restarted.entry(site).or_default();
        *restarted = until.max(*restarted);
    }

    /// Whether nothing was wrong since then for a process but restarts of sites that kept their data.
    pub(super) fn keeps_order(&self, process: usize, since: Duration) -> bool {
        let mut wrong = self.disturbed.iter().filter(|((of, _), _)| of.is_none_or(|of| of == process));
        wrong.all(|(_, until)| *until < since)
    }

    /// Whether nothing was wrong since then for a process; in a quorum, with a majority of the sites.
    pub(super) fn is_healthy(&self, process: usize, since: Duration) -> bool {
        self.healthy_sites(process, since).count() >= self.needed
    }

    /// Whether nothing was wrong since then for a process; in a quorum, with a majority that consists of these sites.
    pub(super) fn is_healthy_with(&self, process: usize, since: Duration, sites: &[usize]) -> bool {
        let healthy = self.healthy_sites(process, since).filter(|site| sites.contains(site)).count();
        self.is_healthy(process, since) && (!self.is_quorum() || healthy >= self.majority)
    }

    /// The sites with which nothing was wrong since then for a process.
    fn healthy_sites(&self, process: usize, since: Duration) -> impl Iterator<Item = usize> {
        (0..self.sites).filter(move |site| {
            let kinds = [(None, *site), (Some(process), *site)];
            let disturbed = kinds.iter().filter_map(|what| self.disturbed.get(what)).chain(self.restarted.get(site));
            disturbed.into_iter().all(|until| *until < since)
        })
    }

    /// Whether nothing has gone wrong at all.
    pub(super) fn is_calm(&self) -> bool {
        self.disturbed.is_empty() && self.restarted.is_empty()
    }

    /// The server lost data that all leases so far depend on.
    pub(super) fn loses(&mut self, now: Duration) {
        self.losses += 1;
        self.lost_at.push(now);
        self.leases.iter_mut().for_each(|lease| lease.excused = true);
        self.values.values_mut().for_each(|value| value.excused = true);
        self.completed.iter_mut().for_each(|completed| completed.excused = true);
    }

    pub(super) fn grant(&mut self, granted: &Granted<'_>, now: Duration) {
        let Granted { process, name, token, fence, deadline } = *granted;
        self.granted += 1;
        if deadline <= now {
            self.violated(GrantsHaveTime, format!("{token} was granted {name} until {deadline:?}, which has passed"));
        }
        let excused = self.values.get(token).is_some_and(|value| value.excused);
        let since = self.values.get(token).map_or(now, |value| value.since);
        if !self.is_quorum()
            && !self.chosen.contains(token)
            && now > since + MOST_UNTOLD + self.confirmed_within
            && self.is_healthy(process, since.saturating_sub(MOST_UNTOLD))
        {
            self.violated(WaitersAreTold, format!("{token} has {name} since {since:?}, and learns of it at {now:?}"));
        }
        let last = self.leases.iter().filter(|lease| lease.name == name).map(|lease| lease.fence).max();
        let revoked = self.revocations.took(token, fence);
        // One that was revoked before it knew may know after the next one.
        if last.is_some_and(|last| last >= fence) && !excused && !revoked && !self.fences_are_excused() {
            self.violated(FencesIncrease, format!("{token} has {name} with {fence}, after a grant with {last:?}"));
        }
        let other = self.valid(now).find(|lease| lease.name == name && !revoked);
        let what =
            other.map(|other| format!("{token} has {name} while {} has it until {:?}", other.token, other.deadline));
        if let (Some(what), false) = (what, excused) {
            self.violated(AtMostOneHolder, what);
        }
        let (name, token) = (name.to_owned(), token.to_owned());
        self.leases.push(Lease { name, token: token.clone(), process, fence, deadline, ended: false, excused });
        self.check_lasts(&token, LeasesLast);
    }

    /// An extension was granted.
    pub(super) fn extended(&mut self, token: &str, fence: u64, deadline: Duration, now: Duration) {
        // A call that was repeated may have taken the lock again, or left a vote for it, with a higher fence. An extension that comes after the lease, or after its revocation, finds that, too.
        let may_rise = self.chosen.contains(token);
        let Some(lease) = self.lease(token) else { return };
        let granted = std::mem::replace(&mut lease.deadline, deadline);
        let (had, excused) = (lease.fence, lease.excused);
        let is_over = granted <= now || self.revocations.took(token, had);
        if may_rise && is_over && fence > had {
            if let Some(lease) = self.lease(token) {
                lease.fence = fence;
            }
            return self.check_lasts(token, ExtensionsTellTheTruth);
        }
        // A server that lost a grant, and not the queue, may grant it again. A guard notices.
        if had != fence && (!excused || self.guards.iter().any(|(_, guarded, _)| guarded == token)) {
            let what = format!("{token} had {had} until {granted:?}, and has {fence} until {deadline:?}");
            self.violated(OneFencePerLease, what);
        }
        self.check_lasts(token, ExtensionsTellTheTruth);
    }

    /// An extension to less was sent: it may take effect whatever is answered.
    pub(super) fn shortens(&mut self, token: &str, ttl: Duration, now: Duration) {
        // The clocks of the members of a quorum may run faster.
        let lasts = if self.is_quorum() { ttl.saturating_sub(ttl / CLOCKS_DIFFER_BY) } else { ttl };
        let deadline = now + lasts;
        if let Some(lease) = self.lease(token) {
            lease.deadline = deadline.min(lease.deadline);
        }
    }

    /// A caller was told that it does not have the lock any more.
    pub(super) fn refused(&mut self, token: &str, invariant: HostInvariant, now: Duration) {
        let lease = self.valid(now).find(|lease| lease.token == token);
        let lost = lease.map(|lease| (lease.name.clone(), lease.deadline));
        if let Some((name, deadline)) = lost {
            let what = format!("{token} is told to have lost {name}, which it has until {deadline:?}");
            self.violated(invariant, what);
        }
    }

    /// A caller was told that it released the lock.
    pub(super) fn released(&mut self, name: &str, token: &str, since: Duration) {
        let is_there = self.truths.get(name).and_then(|truth| truth.entry.as_ref());
        let is_there = is_there.is_some_and(|entry| entry.value == token);
        // A member of a quorum that does not answer may have had it, too.
        let was_there = self.sites_with(token, since) > 0;
        if (is_there || !was_there) && !self.is_excused(token) {
            self.violated(ReleasesTellTheTruth, format!("{token} is told that it released {name}: {is_there}"));
        }
    }

    /// A holder writes to what the lock guards, which refuses fences lower than the highest one.
    pub(super) fn writes(&mut self, token: &str, fence: u64, now: Duration) {
        let Some(value) = self.values.get(token) else { return };
        let (name, order, excused) = (value.name.to_owned(), value.order, value.excused || self.fences_are_excused());
        let (highest, last) = self.resources.get(&name).copied().unwrap_or_default();
        let accepted = fence >= highest;
        let is_valid = self.valid(now).any(|lease| lease.token == token);
        if accepted && order < last && !excused {
            self.violated(WritesAreFenced, format!("{token} writes to {name} with {fence}, after a newer holder"));
        } else if !accepted && is_valid && !excused {
            self.violated(WritesAreFenced, format!("{token} has {name} with {fence}, and {highest} wrote before"));
        }
        if accepted {
            self.resources.insert(name, (fence, order.max(last)));
        }
    }

    /// The store has what the caller counts on.
    pub(super) fn check_lasts(&mut self, token: &str, invariant: HostInvariant) {
        let Some(lease) = self.leases.iter().rfind(|lease| lease.token == token) else { return };
        let entry = self.truths.get(&lease.name[..]).and_then(|truth| truth.entry.as_ref());
        let lasts = entry.is_some_and(|entry| entry.value == token && entry.expires >= lease.deadline);
        let revoked = self.revocations.took(token, lease.fence);
        if !lasts && !lease.excused && !lease.ended && !revoked {
            let what =
                format!("{token} counts on {} until {:?}, and the store has {entry:?}", lease.name, lease.deadline);
            self.violated(invariant, what);
        }
    }

    pub(super) fn lease(&mut self, token: &str) -> Option<&mut Lease> {
        self.leases.iter_mut().rfind(|lease| lease.token == token)
    }

    /// Whether the server lost data since the value was stored, or it was revoked.
    pub(super) fn is_excused(&self, token: &str) -> bool {
        self.revocations.was_taken(token) || self.values.get(token).is_none_or(|value| value.excused)
    }

    /// Whether the lease may be gone without anyone's fault.
    pub(super) fn lease_ended_by(&self, token: &str, now: Duration) -> bool {
        let lease = self.leases.iter().rfind(|lease| lease.token == token);
        let revoked = |lease: &Lease| self.revocations.took(token, lease.fence);
        lease.is_none_or(|lease| lease.excused || revoked(lease) || lease.deadline <= now)
    }

    /// Leases that must be respected.
    pub(super) fn valid(&self, now: Duration) -> impl Iterator<Item = &Lease> {
        let lasts = move |lease: &&Lease| !lease.ended && !lease.excused && lease.deadline > now;
        self.leases.iter().filter(lasts).filter(|lease| !self.revocations.took(&lease.token, lease.fence))
    }

    /// The caller does not count on its lease any more.
    pub(super) fn ends(&mut self, token: &str) {
        if let Some(lease) = self.lease(token) {
            lease.ended = true;
        }
    }

    pub(super) fn crashes(&mut self, process: usize) {
        self.leases.iter_mut().filter(|lease| lease.process == process).for_each(|lease| lease.ended = true);
        self.calls.values_mut().filter(|call| call.process == process).for_each(|call| call.over = true);
        self.crashed.insert(process);
    }
}
