//! Callers that watch locks.

use std::time::Duration;

use locker_host::Holder;
use tokio::time::{sleep, timeout};

use super::caller::{Caller, RECOVERY};
use super::completions::is_record;
use super::invariants::HostInvariant::WatchersSeeChanges;
use super::ledger::Ledger;
use super::traffic::observe;

/// The longest that it takes to tell a watcher of a new holder.
const MOST_UNTOLD: Duration = Duration::from_secs(1);
/// How often it looks for what no message told.
const LOOKS: Duration = Duration::from_secs(5);
/// How long to wait after an error.
const PAUSE: Duration = Duration::from_millis(200);

impl Caller {
    /// Watches a lock, and compares what it saw last with what is so.
    pub(super) async fn watch(&self, name: &str, length: Duration) {
        let (mut watch, ends, mut seen) = (self.locker.watch(name), self.world.now() + length, None);
        loop {
            let started = self.world.now();
            match timeout(ends.saturating_sub(started), watch.changed()).await {
                Err(_) => break,
                Ok(Ok(holder)) => {
                    self.world.tell(|| format!("p{} sees that {:?} has {name}", self.process, holder));
                    if let Some(holder) = &holder {
                        self.told_of(name, holder, "", started);
                    }
                    seen = Some(holder);
                }
                Ok(Err(error)) => {
                    seen = None;
                    self.failed(&error, started);
                    sleep(PAUSE).await;
                }
            }
        }
        let now = self.world.now();
        observe(&mut self.world.state(), now);
        self.world.ledger(|ledger, now| ledger.check_watched(self.process, name, seen.as_ref(), now));
    }
}

impl Ledger {
    /// A watcher of a process that lives sees the last change in time.
    fn check_watched(&mut self, process: usize, name: &str, seen: Option<&Option<Holder>>, now: Duration) {
        let Some(truth) = self.truths.get(name) else { return };
        let is_new_holder = truth.entry.as_ref().is_some_and(|entry| !is_record(&entry.value));
        let changed = truth.changed.max(RECOVERY);
        // No message tells of the end of a lease, and that work is done.
        let within = if is_new_holder && !self.is_quorum() { MOST_UNTOLD } else { MOST_UNTOLD + LOOKS };
        let is_live =
            self.is_healthy(process, changed.saturating_sub(RECOVERY)) && (!self.is_quorum() || self.is_calm());
        let is_same = match (seen, &truth.entry) {
            (Some(None), None) => true,
            (Some(Some(holder)), Some(entry)) => {
                let fences = self.seen.get(&entry.value).map(|seen| &seen.fences);
                fences.is_some_and(|fences| fences.contains(&holder.fence))
                    && holder.done.is_some() == is_record(&entry.value)
            }
            _ => false,
        };
        if now > changed + within && is_live && !is_same {
            let what = format!("p{process} saw {seen:?} last, and since {changed:?} {name} has {:?}", truth.entry);
            self.violated(WatchersSeeChanges, what);
        }
    }
}
