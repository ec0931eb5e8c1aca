//! The cache that a guest is lent: the client's side of the store, as `docs/protocol.md` has it.

use crate::cache::{DeleteOutcome, Entry, ExtendOutcome, SetOutcome, Stored, Unavailable};
use crate::port::Port;
use crate::process::Orphan;
use crate::request::{Outcome, Step};
use crate::retry::{Doubt, Replied};
use crate::table::{DEFAULT_TTL_MS, KEEP_QUEUE, MILLISECOND, Micros};
use crate::waiting::Wait;

/// The cache as one process sees it.
#[derive(Clone)]
pub struct SimCache {
    pub(crate) port: Port,
    pub(crate) bugs: HostBugs,
}

/// What a host does wrong, if anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostBugs {
    /// Counts a time to live from the reply.
    pub counts_from_the_reply: bool,
    /// Withdraws nothing that it may have stored or queued.
    pub withdraws_nothing: bool,
    /// Reports what a repeated request was answered as if there had been no first.
    pub forgets_the_first_attempt: bool,
    /// Answers that the lock is held when the wait is over, whatever the last step says.
    pub drops_a_fresh_grant: bool,
    /// Trusts an extension although a shorter one may still arrive.
    pub ignores_late_extensions: bool,
    /// Withdraws any value that it gets a message for and that no caller awaits.
    pub withdraws_what_was_answered: bool,
    /// Lets waiters that do not report sleep until their wait is over.
    pub trusts_messages_to_arrive: bool,
    /// Counts a lease from when its message came if the server's clock was set forward.
    pub trusts_any_clock: bool,
    /// Writes to guarded resources without a fence.
    pub writes_without_a_fence: bool,
}

impl SimCache {
    pub(crate) fn new(port: Port, bugs: HostBugs) -> Self {
        Self { port, bugs }
    }

    /// As the interface `cache` has it; so are all functions here.
    ///
    /// # Errors
    /// [`Unavailable`] if there was no reply.
    pub async fn set_if_absent(
        &self,
        key: &str,
        value: &str,
        ttl_ms: Option<u64>,
        wait_ms: u64,
    ) -> Result<SetOutcome, Unavailable> {
        let ttl_ms = ttl_ms.unwrap_or(DEFAULT_TTL_MS);
        let ends = self.port.now() + wait_ms * MILLISECOND;
        self.owe(Some((key, value, ttl_ms)));
        let mut doubt = Doubt::default();
        let mut outcome = None;
        // Where no caller of this client waits yet, an attempt spares a subscription. It overtakes no waiter.
        if wait_ms == 0 || !self.has_waiters() {
            outcome = Some(self.attempt(key, value, ttl_ms, false, &mut doubt).await?);
        }
        let outcome = match outcome {
            Some(outcome) if wait_ms == 0 || matches!(outcome, SetOutcome::Stored(_)) => outcome,
            _ => Wait::new(self, key, value, ttl_ms, ends, doubt).run().await?,
        };
        if matches!(outcome, SetOutcome::Occupied(_)) {
            self.owe(None);
        }
        Ok(outcome)
    }

    /// Makes one attempt. With `last`, it ends a wait.
    pub(crate) async fn attempt(
        &self,
        key: &str,
        value: &str,
        ttl_ms: u64,
        last: bool,
        doubt: &mut Doubt,
    ) -> Result<SetOutcome, Unavailable> {
        let step = |again| Step::Set { key: key.to_owned(), value: value.to_owned(), ttl_ms, last, again };
        let replied = self.run(doubt, step).await?;
        match replied.outcome {
            Outcome::Stored { fence, left } => self.stored(&replied, fence, left).map(SetOutcome::Stored),
            Outcome::Occupied(entry) => Ok(SetOutcome::Occupied(entry)),
            _ => Err(Unavailable),
        }
    }

    /// A lease of which something is left. One that is over counts as no answer.
    pub(crate) fn stored(&self, replied: &Replied, revision: u64, left: Micros) -> Result<Stored, Unavailable> {
        let now = self.port.now();
        let deadline = if self.bugs.counts_from_the_reply { now } else { replied.sent } + left;
        if deadline < now + MILLISECOND {
            return Err(Unavailable);
        }
        Ok(Stored { revision, deadline })
    }

    /// Replaces the time to live if the store has exactly `value`.
    ///
    /// # Errors
    /// [`Unavailable`] if there was no reply.
    pub async fn extend_if_equal(&self, key: &str, value: &str, ttl_ms: u64) -> Result<ExtendOutcome, Unavailable> {
        let doubted = self.doubt_extension(value, ttl_ms);
        let step = |_| Step::Extend { key: key.to_owned(), value: value.to_owned(), ttl_ms };
        let replied = self.run(&mut Doubt::default(), step).await?;
        let shortest = self.settle_extension(value, doubted, replied.retried);
        match replied.outcome {
            Outcome::Extended { fence } => {
                let ttl_ms = if self.bugs.ignores_late_extensions { ttl_ms } else { shortest.min(ttl_ms) };
                self.stored(&replied, fence, ttl_ms * MILLISECOND).map(ExtendOutcome::Extended)
            }
            Outcome::Absent => Ok(ExtendOutcome::Absent),
            Outcome::Different => Ok(ExtendOutcome::Different),
            _ => Err(Unavailable),
        }
    }

    /// Deletes the key if the store has exactly `value` there.
    ///
    /// # Errors
    /// [`Unavailable`] if there was no reply.
    pub async fn delete_if_equal(&self, key: &str, value: &str) -> Result<DeleteOutcome, Unavailable> {
        let step = |_| Step::Delete { key: key.to_owned(), value: value.to_owned() };
        let replied = self.run(&mut Doubt::default(), step).await?;
        match replied.outcome {
            Outcome::Deleted => Ok(DeleteOutcome::Deleted),
            Outcome::Absent => Ok(DeleteOutcome::Absent),
            // The first attempt may have deleted the key, and another caller may have it since.
            Outcome::Different if replied.retried && !self.bugs.forgets_the_first_attempt => Ok(DeleteOutcome::Absent),
            Outcome::Different => Ok(DeleteOutcome::Different),
            _ => Err(Unavailable),
        }
    }

    /// Removes a value whose caller went away from queue and key.
    pub(crate) async fn withdraw(&self, key: &str, value: &str) -> Result<(), Unavailable> {
        let step = |_| Step::Withdraw { key: key.to_owned(), value: value.to_owned() };
        match self.run(&mut Doubt::default(), step).await?.outcome {
            Outcome::Withdrawn => Ok(()),
            _ => Err(Unavailable),
        }
    }

    /// Reads what the store has under the key.
    ///
    /// # Errors
    /// [`Unavailable`] if there was no reply.
    pub async fn get(&self, key: &str) -> Result<Option<Entry>, Unavailable> {
        match self.run(&mut Doubt::default(), |_| Step::Get { key: key.to_owned() }).await?.outcome {
            Outcome::Found(entry) => Ok(Some(entry)),
            Outcome::Absent => Ok(None),
            _ => Err(Unavailable),
        }
    }

    /// Random bits, as good as any here: no other caller gets them.
    #[must_use]
    pub fn random(&self) -> u64 {
        self.port.world().mint()
    }

    /// The wall clock of this machine, in microseconds. Machines do not agree on it.
    #[must_use]
    pub fn wall_clock(&self) -> u64 {
        let behind = self.port.host() as u64 * 1000 * MILLISECOND;
        let world = self.port.world();
        world.table.wall(world.now) - behind
    }

    /// The time, for what is left of a deadline.
    #[must_use]
    pub fn now(&self) -> Micros {
        self.port.now()
    }

    fn has_waiters(&self) -> bool {
        let host = self.port.host();
        !self.port.world().clients[host].waiters.is_empty()
    }

    /// Notes what is to be withdrawn if the call ends without an answer.
    fn owe(&self, value: Option<(&str, &str, u64)>) {
        let mut world = self.port.world();
        let now = world.now;
        let Some(call) = &mut world.processes[self.port.process()].call else { return };
        call.orphan = value.map(|(key, value, ttl_ms)| {
            let expired = call.deadline.max(now) + crate::process::TIMEOUT + KEEP_QUEUE + ttl_ms * MILLISECOND;
            Orphan { key: key.to_owned(), value: value.to_owned(), expired }
        });
    }
}
