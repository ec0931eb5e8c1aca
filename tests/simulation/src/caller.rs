//! A caller: follows its script, with the guest on its own machine.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::guest::{Answer, Error, ExtendOutcome, Guest, LockOutcome, Options, UnlockOutcome};
use crate::ledger::Asked;
use crate::orphan::orphan_cleanup;
use crate::port::Port;
use crate::process::Current;
use crate::request::{Request, Step};
use crate::script::{self, Operation};
use crate::sim_cache::{HostBugs, SimCache};
use crate::table::{DEFAULT_TTL_MS, MILLISECOND};

/// How long a call may take beyond what it was told to wait, in milliseconds.
const DEADLINE_MS: u64 = 10_000;

pub(crate) struct Caller {
    port: Port,
    host: usize,
    guest: Arc<dyn Guest>,
    bugs: HostBugs,
    owner: Option<String>,
    /// What it was granted last, under each name.
    tokens: BTreeMap<&'static str, Token>,
}

struct Token {
    text: String,
    fence: u64,
    /// The number of the grant in the ledger.
    grant: usize,
    released: bool,
}

impl Caller {
    pub(crate) fn new(port: Port, guest: Arc<dyn Guest>, bugs: HostBugs, owner: Option<String>) -> Self {
        let host = port.host();
        Self { port, host, guest, bugs, owner, tokens: BTreeMap::new() }
    }

    pub(crate) async fn follow(mut self, script: Vec<script::Operation>) {
        for operation in script {
            match operation {
                Operation::Lock { key, ttl_ms, wait_ms } => self.lock(key, ttl_ms, wait_ms).await,
                Operation::Extend { key, ttl_ms } => self.extend(key, ttl_ms).await,
                Operation::Write { key } => self.write(key).await,
                Operation::Unlock { key } => self.unlock(key).await,
                Operation::Inspect { key } => self.inspect(key).await,
                Operation::Rest { ms } => self.port.sleep_until(self.port.now() + ms * MILLISECOND).await,
            }
        }
    }

    async fn lock(&mut self, key: &'static str, ttl_ms: Option<u64>, wait_ms: u64) {
        let asked = Asked::Lock { ttl_ms: ttl_ms.unwrap_or(DEFAULT_TTL_MS), wait_ms };
        let options = Options { ttl_ms, wait_ms: Some(wait_ms), owner: self.owner.clone(), token: None };
        let guest = self.guest.clone();
        let call = self.begin(key, asked, wait_ms);
        let answer = self.port.within(guest.lock(self.cache(), key, &options)).await;
        let (current, outcome) = self.end(call, answer);
        let mut world = self.port.world();
        let now = world.now;
        match outcome {
            Some(LockOutcome::Granted(lease)) => {
                let deadline = now + lease.ttl_ms * MILLISECOND;
                let grant = world.ledger.granted(now, call, &lease, deadline);
                let told = format!("is granted {key} with fence {} for {} ms", lease.fence, lease.ttl_ms);
                world.tell(self.host, told);
                self.tokens.insert(key, Token { text: lease.token, fence: lease.fence, grant, released: false });
            }
            Some(LockOutcome::Held(holder)) => {
                world.ledger.held(now, call, &holder);
                let told = format!("is told that {key} is held, with fence {}", holder.fence);
                world.tell(self.host, told);
                drop(world);
                self.withdraw(&current);
            }
            None => {
                world.tell(self.host, format!("does not learn whether it holds {key}"));
                drop(world);
                self.withdraw(&current);
            }
        }
    }

    async fn extend(&mut self, key: &'static str, ttl_ms: u64) {
        let Some(Token { text, grant, released: false, .. }) = self.tokens.get(key) else { return };
        let (token, grant, guest) = (text.clone(), *grant, self.guest.clone());
        let call = self.begin(key, Asked::Extend { ttl_ms, token: token.clone() }, 0);
        let shorter = self.port.now() + ttl_ms * MILLISECOND;
        self.port.world().ledger.extending(grant, shorter);
        let answer = self.port.within(guest.extend(self.cache(), key, &token, ttl_ms)).await;
        let (_, outcome) = self.end(call, answer);
        let mut world = self.port.world();
        let now = world.now;
        let told = match &outcome {
            Some(ExtendOutcome::Extended(lease)) => format!("has {key} for {} ms from then on", lease.ttl_ms),
            Some(ExtendOutcome::Absent) => format!("cannot extend {key}: no caller holds it"),
            Some(ExtendOutcome::HeldByOther) => format!("cannot extend {key}: another holds it"),
            None => format!("does not learn whether it extended {key}"),
        };
        world.tell(self.host, told);
        if let Some(outcome) = outcome {
            world.ledger.extended(now, call, grant, &outcome);
            if let (ExtendOutcome::Extended(lease), Some(token)) = (outcome, self.tokens.get_mut(key)) {
                token.fence = lease.fence;
            }
        }
    }

    async fn write(&mut self, key: &'static str) {
        let Some(Token { fence, grant, .. }) = self.tokens.get(key) else { return };
        let fence = if self.bugs.writes_without_a_fence { u64::MAX } else { *fence };
        let step = Step::Write { key: key.to_owned(), fence, grant: *grant };
        _ = self.port.exchange(Request { step, use_by: 0 }).await;
    }

    async fn unlock(&mut self, key: &'static str) {
        let Some(token) = self.tokens.get_mut(key) else { return };
        // A caller that has sent a release counts as no holder any more, and never extends again.
        token.released = true;
        let (token, grant, guest) = (token.text.clone(), token.grant, self.guest.clone());
        let call = self.begin(key, Asked::Unlock { token: token.clone() }, 0);
        self.port.world().ledger.releasing(grant);
        let answer = self.port.within(guest.unlock(self.cache(), key, &token)).await;
        let (_, outcome) = self.end(call, answer);
        let mut world = self.port.world();
        let told = match outcome {
            Some(UnlockOutcome::Released) => format!("has released {key}"),
            Some(UnlockOutcome::Absent) => format!("has not released {key}: no caller holds it"),
            Some(UnlockOutcome::HeldByOther) => format!("has not released {key}: another holds it"),
            None => format!("does not learn whether it released {key}"),
        };
        world.tell(self.host, told);
        if let Some(outcome) = outcome {
            world.ledger.unlocked(call, outcome);
        }
    }

    async fn inspect(&mut self, key: &'static str) {
        let guest = self.guest.clone();
        let call = self.begin(key, Asked::Inspect, 0);
        let answer = self.port.within(guest.inspect(self.cache(), key)).await;
        if let (_, Some(holder)) = self.end(call, answer) {
            self.port.world().ledger.inspected(call, holder.as_ref());
        }
    }

    fn cache(&self) -> SimCache {
        SimCache::new(self.port.clone(), self.bugs)
    }

    fn begin(&self, key: &str, asked: Asked, wait_ms: u64) -> usize {
        let mut world = self.port.world();
        let (now, process) = (world.now, self.port.process());
        world.tell(self.host, format!("{} {key}", asked.verb()));
        let id = world.ledger.begin(now, self.host, key, asked);
        let deadline = now + (DEADLINE_MS + wait_ms) * MILLISECOND;
        world.processes[process].call = Some(Current { id, deadline, cancelled: false, orphan: None });
        id
    }

    /// Ends a call. What stopped the guest is a violation; an error, or a call that was given up, is no answer.
    fn end<T>(&self, call: usize, answer: Option<Answer<T>>) -> (Current, Option<T>) {
        let mut world = self.port.world();
        let now = world.now;
        let process = &mut world.processes[self.port.process()];
        let current =
            process.call.take().unwrap_or(Current { id: call, deadline: now, cancelled: false, orphan: None });
        let outcome = match answer {
            Some(Ok(Ok(outcome))) => Some(outcome),
            Some(Ok(Err(Error::Unavailable(_)))) | None => None,
            Some(Ok(Err(error))) => {
                world.ledger.stopped(call, &format!("{error:?}"));
                None
            }
            Some(Err(why)) => {
                world.ledger.stopped(call, &why);
                None
            }
        };
        world.ledger.end(now, call);
        (current, outcome)
    }

    /// Withdraws what a call may have left in the store.
    fn withdraw(&self, current: &Current) {
        let Some(orphan) = current.orphan.clone() else { return };
        let mut world = self.port.world();
        world.ledger.failed.push((self.host, orphan.value.clone()));
        if self.bugs.withdraws_nothing {
            return;
        }
        world.clients[self.host].withdrawing.insert(orphan.value.clone());
        drop(world);
        let cache = SimCache::new(self.port.another(self.host), self.bugs);
        self.port.world().spawned.push(Box::pin(orphan_cleanup(cache, orphan)));
    }
}
