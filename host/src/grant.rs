//! Taking a lock with enough time left on its lease.

use std::time::{Duration, Instant};

use tokio::time::timeout_at;

use crate::bindings::exports::locker::locker::locker as wit;
use crate::error::GRANTED_TOO_LATE;
use crate::term::Term;
use crate::{Error, ErrorKind, Holder, Lease, Lock, LockOptions, Locker, Token, events};

/// A lease, with the whole time to live that the cache gave it.
pub(crate) struct Grant {
    pub(crate) lease: Lease,
    pub(crate) term: Term,
}

/// The answers of one attempt.
pub(crate) enum Attempt {
    Granted(Grant),
    Held(Holder),
    /// It was granted with this fence, but its time was over when the answer arrived. It is being released.
    Late(u64),
}

impl Grant {
    pub(crate) fn new(lease: wit::Lease, term: Option<Term>) -> Self {
        let ttl = Duration::from_millis(lease.ttl_ms);
        let term = term.unwrap_or_else(|| Term { deadline: Instant::now(), ttl });
        Self {
            lease: Lease { token: Token::from(lease.token), fence: lease.fence, ttl, deadline: term.deadline },
            term,
        }
    }
}

impl Locker {
    /// Takes the lock with at least the time left that is `required` of a time to live. A grant with less is released, and
    /// the call waits again if it still has time.
    pub(crate) async fn grant(
        &self,
        name: &str,
        options: LockOptions,
        required: impl Fn(Duration) -> Duration,
    ) -> Result<Lock<Grant>, Error> {
        let started = Instant::now();
        let answer = self.grant_in_time(name, options, started, required).await;
        events::locked(name, started, &answer);
        answer
    }

    async fn grant_in_time(
        &self,
        name: &str,
        mut options: LockOptions,
        started: Instant,
        required: impl Fn(Duration) -> Duration,
    ) -> Result<Lock<Grant>, Error> {
        let wait = options.wait;
        loop {
            let late = match self.attempt(name, options.clone()).await? {
                Attempt::Granted(grant) if grant.term.has_left(required(grant.term.ttl)) => {
                    return Ok(Lock::Granted(grant));
                }
                Attempt::Granted(grant) => self.release_late(name, &grant).await,
                Attempt::Held(holder) => return Ok(Lock::Held(holder)),
                Attempt::Late(fence) => fence,
            };
            options.wait = wait.saturating_sub(started.elapsed());
            if options.wait.is_zero() {
                return self.holder_instead(name, late).await;
            }
        }
    }

    /// Releases what was granted with too little time left, and answers its fence. The release goes on in the background if
    /// the caller goes away or the lease ends first.
    async fn release_late(&self, name: &str, Grant { lease, term }: &Grant) -> u64 {
        let orphan = self.orphan(name, &lease.token, term.ttl);
        if let Ok(Ok(_)) = timeout_at(term.deadline.into(), self.unlock(name, &lease.token)).await {
            orphan.disarm();
        }
        lease.fence
    }

    /// The answer of a call that has no time to wait again: another caller holds the lock, or it was granted too late.
    async fn holder_instead(&self, name: &str, late: u64) -> Result<Lock<Grant>, Error> {
        match self.inspect(name).await {
            Ok(Some(holder)) if holder.fence != late => Ok(Lock::Held(holder)),
            _ => {
                let error = Error::new(ErrorKind::Expired, GRANTED_TOO_LATE).about(name);
                events::failed("lock", &error);
                Err(error)
            }
        }
    }
}
