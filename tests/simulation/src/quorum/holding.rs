//! What holders do.

use std::time::Duration;

use locker_host::Cache;
use locker_host::cache::{DeleteOutcome, ExtendOutcome, SetOutcome, Stored};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::caller::Caller;
use super::invariants::QuorumInvariant::LeasesLast;
use super::ledger::Gone;
use super::plan::Attempt;
use super::words;

impl Caller {
    /// Holds the lock for as long as it is meant to be held, and says whether it was not lost meanwhile.
    pub(crate) async fn hold(&mut self, key: &str, value: &str, attempt: &Attempt, stored: Stored) -> bool {
        let (ends, ttl) =
            (Instant::now() + Duration::from_millis(attempt.hold_ms), Duration::from_millis(attempt.ttl_ms));
        let mut deadline = Instant::from_std(stored.deadline);
        if attempt.repeats {
            self.repeat(key, value, attempt, stored.revision).await;
        }
        let mut interval = ttl / 3;
        loop {
            let next = if attempt.renews { ends.min(Instant::now() + interval) } else { ends };
            sleep_until(next.min(deadline)).await;
            if Instant::now() >= deadline {
                self.world.tell(|| format!("p{} holds {key} no longer", self.process));
                return false;
            }
            if next == ends {
                return true;
            }
            interval = ttl / 3;
            match self.extend(key, value, ttl, deadline).await {
                Extension::Until(renewed) => deadline = renewed,
                Extension::Failed => interval = ttl / 10,
                Extension::Lost => return false,
            }
        }
    }

    async fn extend(&mut self, key: &str, value: &str, ttl: Duration, deadline: Instant) -> Extension {
        let losses = self.world.ledger(|ledger, _| ledger.losses);
        let Ok(answer) = timeout_at(deadline, self.quorum.extend_if_equal(key, value, ttl)).await else {
            return Extension::Failed;
        };
        self.world.tell(|| format!("p{} extends {value} on {key}: {}", self.process, words::extended(&answer)));
        match answer {
            Ok(ExtendOutcome::Extended(Stored { revision, deadline })) => {
                let until = self.world.since_start(deadline);
                self.world.ledger(|ledger, now| ledger.confirmed(key, value, revision, Some(until), now));
                Extension::Until(Instant::from_std(deadline))
            }
            Ok(ExtendOutcome::Absent | ExtendOutcome::Different) => {
                self.world.ledger(|ledger, now| {
                    if ledger.holder(key, now).as_deref() == Some(value) && ledger.losses == losses {
                        ledger.violated(LeasesLast, format!("an extension says that {value} lost {key}"));
                    }
                    ledger.ends(key, value);
                });
                Extension::Lost
            }
            Err(_) => Extension::Failed,
        }
    }

    /// Asks for the lock that it holds once more, with the same value.
    async fn repeat(&mut self, key: &str, value: &str, attempt: &Attempt, fence: u64) {
        let losses = self.world.ledger(|ledger, _| ledger.losses);
        let ttl = Duration::from_millis(attempt.ttl_ms);
        let answer = self.quorum.set_if_absent(key, value, Some(ttl), Duration::ZERO).await;
        self.world.tell(|| {
            let answer = words::set(&answer);
            format!("p{} asks for {key} again with {value}, which had {fence}: {answer}", self.process)
        });
        self.world.ledger(|ledger, now| match answer {
            Ok(SetOutcome::Stored(stored)) if ledger.deadline(key, value).is_none_or(|deadline| deadline <= now) => {
                // The lease had ended meanwhile: this is another one.
                let deadline = self.world.since_start(stored.deadline);
                ledger.grant(self.process, key, value, stored.revision, deadline, now);
                ledger.ends(key, value);
            }
            Ok(SetOutcome::Stored(stored)) => ledger.confirmed(key, value, stored.revision, None, now),
            Ok(SetOutcome::Occupied(_)) if ledger.holder(key, now).as_deref() == Some(value) => {
                if ledger.losses == losses {
                    ledger.violated(LeasesLast, format!("a repeated request says that {value} lost {key}"));
                }
            }
            Ok(SetOutcome::Occupied(_)) | Err(_) => {}
        });
    }

    pub(crate) async fn release(&mut self, key: &str, value: &str, ttl_ms: u64) {
        let (was_held, losses) = self.world.ledger(|ledger, now| {
            let was_held = ledger.holder(key, now).as_deref() == Some(value);
            (was_held, ledger.losses)
        });
        let until = self.world.ledger(|ledger, _| ledger.deadline(key, value));
        self.world.ledger(|ledger, _| ledger.ends(key, value));
        let answer = self.quorum.delete_if_equal(key, value).await;
        self.world.tell(|| format!("p{} releases {value} on {key}: {answer:?}", self.process));
        if answer.is_err() {
            return self.withdraw(key, value, ttl_ms).await;
        }
        self.world.ledger(|ledger, now| {
            // The second copy of a deletion finds nothing.
            let was_valid = self.world.plan.link.repeated == 0
                && was_held
                && ledger.losses == losses
                && until.is_some_and(|until| now < until);
            if was_valid && !matches!(answer, Ok(DeleteOutcome::Deleted)) {
                ledger.violated(LeasesLast, format!("a release says that {value} had lost {key}"));
            }
            let gone = Gone { process: self.process, released: true };
            ledger.gone.insert((key.to_owned(), value.to_owned()), gone);
        });
    }
}

enum Extension {
    Until(Instant),
    Failed,
    Lost,
}
