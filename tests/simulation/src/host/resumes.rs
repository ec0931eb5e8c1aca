//! Callers that choose their tokens, and call again after they lost the answer.

use std::time::Duration;

use locker_host::{Error, Guard, Lease, LockOptions, LockOutcome, Token};
use tokio::time::{sleep, timeout};

use super::caller::Caller;
use super::invariants::HostInvariant::OneFencePerLease;
use super::ledger::{Granted, Ledger};
use super::plan::{Attempt, Style, lock_name, mixed};

const CALLS: u64 = 4;
const PAUSE: Duration = Duration::from_millis(300);
/// How long a store refuses what was withdrawn.
pub(super) const KEEPS_MARK: Duration = Duration::from_secs(6);

/// What was granted.
pub(super) enum Resumed {
    Lease(Lease),
    Guard(Guard),
}

impl Caller {
    /// Calls until there is an answer, each time with the same token.
    pub(super) async fn resumes(&self, attempt: &Attempt, label: &str, options: LockOptions) -> Option<Resumed> {
        let name = lock_name(attempt.name);
        let seed = mixed(&[
            self.world.plan.seed,
            7,
            mixed(label.as_bytes().iter().map(|byte| u64::from(*byte)).collect::<Vec<_>>().as_slice()),
        ]);
        let token = format!("{label}:{seed:016x}{:016x}", mixed(&[seed]));
        self.world.ledger(|ledger, _| _ = ledger.chosen.insert(token.clone()));
        let options = options.token(Token::from(token.clone()));
        let mut had = None;
        for call in 1..=CALLS {
            // The first calls may lose their callers.
            let length = match mixed(&[seed, call]) % 4 {
                0 if call < CALLS => Duration::from_millis(mixed(&[seed, call, 1]) % 60),
                _ => Duration::from_secs(60),
            };
            let started = self.world.now();
            let Ok(outcome) = timeout(length, self.calls(name, attempt.style, options.clone())).await else { continue };
            self.ends_in_time(started, Duration::ZERO, label);
            let is_last = call == CALLS || mixed(&[seed, call, 2]).is_multiple_of(2);
            match outcome {
                Ok(LockOutcome::Granted(granted)) => {
                    let lease = granted.lease();
                    let deadline = self.world.since_start(lease.deadline);
                    let (token, fence) = (lease.token.as_str(), lease.fence);
                    self.world.tell(|| format!("{token} has {name} with {fence} until {deadline:?}, by call {call}"));
                    let grant = Granted { process: self.process, name, token, fence, deadline };
                    self.world.ledger(|ledger, now| ledger.resumed(&grant, now));
                    if is_last || matches!(granted, Resumed::Guard(_)) {
                        self.world.ledger(|ledger, _| ledger.over(label, false));
                        return Some(granted);
                    }
                    had = Some(granted);
                }
                outcome @ Ok(LockOutcome::Held(_)) => {
                    return self.granted(name, label, outcome, started);
                }
                Err(error) => {
                    if !self.is_refused_token(&error, &token, started) {
                        self.failed(&error, started);
                    }
                    sleep(PAUSE).await;
                }
            }
        }
        self.world.ledger(|ledger, _| ledger.over(label, had.is_none()));
        had
    }

    /// Whether the token is refused since an earlier call with it failed, and was withdrawn a short time ago.
    fn is_refused_token(&self, error: &Error, token: &str, started: Duration) -> bool {
        let says = error.to_string().contains("the request was withdrawn");
        says && self.world.ledger(|ledger, _| {
            let mut withdrawn = ledger.withdrawn.iter().filter(|((value, _), _)| value == token);
            withdrawn.any(|(_, at)| started < *at + KEEPS_MARK)
        })
    }

    async fn calls(&self, name: &str, style: Style, options: LockOptions) -> Result<LockOutcome<Resumed>, Error> {
        Ok(match style {
            Style::Hold => match self.locker.hold(name, options).await? {
                LockOutcome::Granted(guard) => LockOutcome::Granted(Resumed::Guard(guard)),
                LockOutcome::Held(holder) => LockOutcome::Held(holder),
            },
            _ => match self.locker.lock(name, options).await? {
                LockOutcome::Granted(lease) => LockOutcome::Granted(Resumed::Lease(lease)),
                LockOutcome::Held(holder) => LockOutcome::Held(holder),
            },
        })
    }
}

impl Resumed {
    fn lease(&self) -> Lease {
        match self {
            Self::Lease(lease) => lease.clone(),
            Self::Guard(guard) => guard.lease(),
        }
    }
}

impl Ledger {
    /// A caller was granted a lock by a token that it chose, and that may hold it already.
    fn resumed(&mut self, granted: &Granted<'_>, now: Duration) {
        let Granted { name, token, fence, deadline, .. } = *granted;
        if let Some(lease) = self.lease(token).filter(|lease| lease.fence == fence) {
            lease.deadline = deadline;
            return self.check_lasts(token, OneFencePerLease);
        }
        let before = self.valid(now).find(|lease| lease.token == token).map(|lease| lease.fence);
        if let Some(before) = before {
            let what = format!("{token} has {name} with {before}, and is granted it with {fence}");
            self.violated(OneFencePerLease, what);
        }
        self.ends(token);
        self.grant(granted, now);
    }
}
