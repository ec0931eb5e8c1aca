//! The same one level up: lockers, whose answers say of a key what a cache's would.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use locker_host::{Error, ExtendOutcome, Holder, Lease, LockOptions, LockOutcome, Locker, UnlockOutcome};

use super::clients::Worker;
use super::reference::{Answer, Event, Request, Seen};

/// What one does with the one lock that all want.
#[derive(Clone, Copy, Debug)]
pub(super) enum Act {
    Lock { ttl: Duration, wait: Duration },
    Unlock(Whose),
    Extend(Whose, Duration),
    Inspect,
}

/// Whose token is used.
#[derive(Clone, Copy, Debug)]
pub(super) enum Whose {
    /// That which oneself was granted last.
    Own,
    /// The last grant.
    Last,
}

pub(super) struct Person {
    pub(super) number: usize,
    pub(super) locker: Locker,
    pub(super) lock: String,
    pub(super) acts: Vec<Act>,
    /// The token of the last grant.
    pub(super) last: Arc<Mutex<String>>,
}

/// Holds nothing.
pub(super) const NO_TOKEN: &str = "none";

impl Worker for Person {
    async fn work(self) -> Vec<Event> {
        let (mut own, mut events) = (NO_TOKEN.to_owned(), Vec::new());
        for act in &self.acts {
            let token = |whose: &Whose| match whose {
                Whose::Own => own.clone(),
                Whose::Last => self.last.lock().unwrap().clone(),
            };
            let asked = Instant::now();
            let (request, answer) = match act {
                Act::Lock { ttl, wait } => {
                    let options = LockOptions::from(*ttl).wait(*wait);
                    let (token, answer) = locked(self.locker.lock(&self.lock, options).await);
                    if matches!(answer, Answer::Stored { .. }) {
                        own.clone_from(&token);
                        self.last.lock().unwrap().clone_from(&token);
                    }
                    (Request::Set { value: token, ttl: *ttl, wait: *wait }, answer)
                }
                Act::Unlock(whose) => {
                    let value = token(whose);
                    let answer = unlocked(self.locker.unlock(&self.lock, &value).await);
                    (Request::Delete { value }, answer)
                }
                Act::Extend(whose, ttl) => {
                    let value = token(whose);
                    let answer = extended(self.locker.extend(&self.lock, &value, *ttl).await);
                    (Request::Extend { value, ttl: *ttl }, answer)
                }
                Act::Inspect => (Request::Get, inspected(self.locker.inspect(&self.lock).await)),
            };
            let told = Instant::now();
            events.push(Event { client: self.number, key: self.lock.clone(), request, answer, asked, told });
        }
        events
    }
}

/// The token of a grant, or else an unused one, and the answer.
fn locked(answer: Result<LockOutcome, Error>) -> (String, Answer) {
    match answer {
        Ok(LockOutcome::Granted(Lease { token, fence, ttl, .. })) => {
            (token.as_str().to_owned(), Answer::Stored { revision: fence, ttl })
        }
        Ok(LockOutcome::Held(holder)) => (NO_TOKEN.to_owned(), Answer::Occupied(holder.into())),
        Err(error) => (NO_TOKEN.to_owned(), failed(&error)),
    }
}

fn unlocked(answer: Result<UnlockOutcome, Error>) -> Answer {
    match answer {
        Ok(UnlockOutcome::Released) => Answer::Deleted,
        Ok(UnlockOutcome::Absent) => Answer::Absent,
        Ok(UnlockOutcome::HeldByOther) => Answer::Different,
        Err(error) => failed(&error),
    }
}

fn extended(answer: Result<ExtendOutcome, Error>) -> Answer {
    match answer {
        Ok(ExtendOutcome::Extended(Lease { fence, ttl, .. })) => Answer::Extended { revision: fence, ttl },
        Ok(ExtendOutcome::Absent) => Answer::Absent,
        Ok(ExtendOutcome::HeldByOther) => Answer::Different,
        Err(error) => failed(&error),
    }
}

fn inspected(answer: Result<Option<Holder>, Error>) -> Answer {
    match answer {
        Ok(Some(holder)) => Answer::Found(holder.into()),
        Ok(None) => Answer::Absent,
        Err(error) => failed(&error),
    }
}

fn failed(error: &Error) -> Answer {
    Answer::Failed(error.to_string())
}

impl From<Holder> for Seen {
    fn from(holder: Holder) -> Self {
        Self { value: None, revision: holder.fence, ttl: holder.ttl }
    }
}
