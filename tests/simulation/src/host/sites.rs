//! All sites of a world, and what they agree on.

use std::time::Duration;

use locker_simulated_redis::{ClientId, Cluster, Push, Server, slot_of};

use super::patch::Patch;
use super::plan::{HostPlan, LOCK_NAMES};
use super::site::{Entry, Site};

pub(super) struct Sites {
    pub(super) all: Vec<Site>,
    is_cluster: bool,
    /// How many must have a value for it to be the holder's.
    majority: usize,
}

/// A connection as its server sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Peer {
    pub(super) site: usize,
    pub(super) node: usize,
    pub(super) client: ClientId,
}

/// The allowance of a quorum for its slowest confirmation, and for clocks.
const CONFIRMS_WITHIN: Duration = Duration::from_millis(60);

impl Sites {
    pub(super) fn new(plan: &HostPlan, patch: Option<&Patch>) -> Self {
        let site = |site| Site::new(plan, site, patch.cloned());
        let all = (0..plan.clocks.len()).map(site).collect();
        Self { all, is_cluster: plan.is_cluster(), majority: plan.majority() }
    }

    pub(super) fn server(&mut self, peer: Peer, now: Duration) -> &mut Server {
        self.all[peer.site].server(peer.node, now)
    }

    /// What each site has under the key of a lock; in a cluster, one of the nodes that serve its slot.
    pub(super) fn entries(&mut self, name: &str, now: Duration) -> Vec<Option<Entry>> {
        if !self.is_cluster {
            return self.all.iter_mut().map(|site| site.entry(name, now)).collect();
        }
        let slot = slot_of(format!("lock:{name}").as_bytes());
        // A replica that takes over after a move may still have the key. If the slot moves back, the owner's key replaces it.
        let mut serving: Vec<_> = (0..self.all.len())
            .filter_map(|node| {
                let its = self.all[node].cluster()?;
                let (owns, imports) = (its.owner(slot) == Some(node), its.importing.contains_key(&slot));
                (owns || imports).then_some((!owns, node))
            })
            .collect();
        serving.sort_unstable();
        vec![serving.into_iter().find_map(|(_, node)| self.all[node].entry(name, now))]
    }

    /// The nodes of a cluster pass messages on to each other.
    pub(super) fn pass_on(&mut self, now: Duration) {
        for from in 0..if self.is_cluster { self.all.len() } else { 0 } {
            for broadcast in self.all[from].primary(now).take_broadcasts() {
                for to in (0..self.all.len()).filter(|to| *to != from) {
                    self.all[to].primary(now).deliver(&broadcast);
                }
            }
        }
    }

    /// The messages of all servers, each with its receiver.
    pub(super) fn take_pushes(&mut self) -> Vec<(Peer, Push)> {
        let sites = self.all.iter_mut().enumerate();
        let pushes = sites.flat_map(|(site, servers)| {
            servers.take_pushes().into_iter().map(move |(node, push)| (Peer { site, node, client: push.client }, push))
        });
        pushes.collect()
    }

    /// What the primary of a node knows of the cluster.
    pub(super) fn cluster(&mut self, node: usize) -> Option<&Cluster> {
        self.all[node].cluster()
    }

    /// Changes what the servers of a node know of the cluster.
    pub(super) fn views(&mut self, node: usize, change: impl Fn(&mut Cluster)) {
        self.all[node].all(|server| server.cluster().into_iter().for_each(&change));
    }

    pub(super) fn leftovers(&mut self, now: Duration) -> Vec<String> {
        self.all.iter_mut().flat_map(|site| site.leftovers(now)).collect()
    }

    /// Whether a majority of the others keeps all that a site has confirmed: then it may lose its data.
    pub(super) fn may_lose(&mut self, site: usize, now: Duration) -> bool {
        let fences =
            self.others_keep(site, now, |site, now| site.fences(now), |its, lost| its.0 == lost.0 && its.1 >= lost.1);
        fences && LOCK_NAMES.iter().all(|name| self.may_evict(site, name, now))
    }

    /// Whether a majority of the others keeps what a site has under the key of a lock.
    pub(super) fn may_evict(&mut self, site: usize, name: &str, now: Duration) -> bool {
        let keeps = |its: &Entry, lost: &Entry| {
            let same = its.value == lost.value && its.fence == lost.fence;
            same && its.expires + CONFIRMS_WITHIN >= lost.expires
        };
        self.others_keep(site, now, |site, now| site.entry(name, now).into_iter().collect(), keeps)
    }

    fn others_keep<T>(
        &mut self,
        lost: usize,
        now: Duration,
        all: impl Fn(&mut Site, Duration) -> Vec<T>,
        keeps: impl Fn(&T, &T) -> bool,
    ) -> bool {
        let has: Vec<Vec<T>> = self.all.iter_mut().map(|site| all(site, now)).collect();
        let others = || has.iter().enumerate().filter(|(site, _)| *site != lost).map(|(_, has)| has);
        has[lost]
            .iter()
            .all(|lost| others().filter(|others| others.iter().any(|its| keeps(its, lost))).count() >= self.majority)
    }
}

/// What so many have.
pub(super) fn agreed(entries: &[Option<Entry>], majority: usize) -> Option<Entry> {
    let same = |entry: &&Entry| -> Vec<&Entry> {
        entries.iter().flatten().filter(|other| other.value == entry.value).collect()
    };
    let mut agreed = entries.iter().flatten().map(|entry| same(&entry)).find(|same| same.len() >= majority)?;
    agreed.sort_by_key(|entry| std::cmp::Reverse(entry.expires));
    let expires = agreed[majority - 1].expires;
    let votes = |fence| agreed.iter().filter(|entry| entry.fence == fence).count();
    let fences = agreed.iter().map(|entry| entry.fence);
    let fence = fences.clone().find(|fence| votes(*fence) >= majority).or_else(|| fences.max())?;
    Some(Entry { value: agreed[0].value.clone(), fence, expires })
}
