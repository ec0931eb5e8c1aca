//! What is tried. Each trial failed with the quorum of the first edition.

use std::fmt;
use std::time::Duration;

use clap::ValueEnum;
use locker_host::cache::SetOutcome;

use locker_host::{Cache, ExtendOutcome, LockOptions, LockOutcome, UnlockOutcome};
use tokio::task::JoinSet;

use super::world::{NO_LATENCY, World, locker, quorum};
use crate::harness::{Asked, LONG, extended, granted, held, until};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Trial {
    /// A withdrawal of a vote arrives after a later vote for the same value.
    LateWithdrawal,
    /// A vote arrives after the grant, and another one after the release.
    LateVote,
    /// Callers without a wait contend for a free lock.
    SimultaneousCallers,
    /// All members are restarted, one after the other, and have lost everything.
    RollingRestart,
    /// A majority loses the lock, and one more member is away.
    LostMajority,
    /// A member does not answer, and the others decide.
    HangingMember,
}

impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_possible_value().unwrap().get_name())
    }
}

/// How long a quorum waits for a member, and how late a late request is.
const TIMEOUT: Duration = Duration::from_millis(300);
const LATE: Duration = Duration::from_millis(700);

impl Trial {
    pub(super) fn all() -> Vec<Self> {
        Self::value_variants().to_vec()
    }

    pub(super) async fn repeat(self, times: usize) -> Vec<String> {
        let mut world = World::start().await;
        let mut failures = Vec::new();
        for time in 0..times {
            let name = format!("job-{time}");
            failures.extend(self.run(&mut world, &name).await.err());
        }
        failures
    }

    async fn run(self, world: &mut World, name: &str) -> Result<(), String> {
        match self {
            Self::LateWithdrawal => late_withdrawal(world, name).await,
            Self::LateVote => late_vote(world, name).await,
            Self::SimultaneousCallers => simultaneous_callers(world, name).await,
            Self::RollingRestart => rolling_restart(world, name).await,
            Self::LostMajority => lost_majority(world, name).await,
            Self::HangingMember => hanging_member(world, name).await,
        }
    }
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}

async fn late_withdrawal(world: &World, name: &str) -> Result<(), String> {
    let (holder, members) = (world.caller(), world.members(NO_LATENCY));
    let lease = granted(holder.lock(name, LONG).await);
    world.all_have(name).await;
    _ = world.servers[2].run::<u64>(&["DEL", &format!("lock:{name}")]).await;
    members[2].delay_next(Asked::WithdrawVote, LATE);
    let (candidate, key) = (quorum(&members).timeout(TIMEOUT), name.to_owned());
    let candidate =
        tokio::spawn(async move { candidate.set_if_absent(&key, "candidate", Some(LONG), LONG).await.unwrap() });
    until(async || members[2].has_delayed()).await;
    holder.unlock(name, &lease.token).await.unwrap();
    let SetOutcome::Stored(stored) = candidate.await.unwrap() else { return Err("it was not granted".to_owned()) };
    until(async || members[2].late_arrivals() == 1).await;
    let vote = Some(("candidate".to_owned(), stored.revision));
    let votes = world.stored(name).await;
    ensure(votes.iter().filter(|other| **other == vote).count() >= 2, || format!("a vote was removed: {votes:?}"))
}

async fn late_vote(world: &World, name: &str) -> Result<(), String> {
    let members = world.members(NO_LATENCY);
    let locker = locker(&members);
    members[2].delay_next(Asked::Vote, LATE);
    let lease = granted(locker.lock(name, LONG).await);
    until(async || members[2].late_arrivals() == 1).await;
    members[0].hang();
    let fence = extended(locker.extend(name, &lease.token, LONG).await).fence;
    ensure(fence == lease.fence, || format!("the fence changed from {} to {fence}", lease.fence))?;
    let members = world.members(NO_LATENCY);
    let caller = super::world::locker(&members);
    caller.unlock(name, &lease.token).await.unwrap();
    members[2].delay_next(Asked::Vote, LATE);
    let next = granted(caller.lock(name, LONG).await);
    caller.unlock(name, &next.token).await.unwrap();
    ensure(next.fence > lease.fence, || format!("a fence of {} after {}", next.fence, lease.fence))?;
    until(async || members[2].late_arrivals() == 1).await;
    let votes = world.stored(name).await;
    ensure(votes.iter().all(Option::is_none), || format!("a vote came after the release: {votes:?}"))
}

async fn simultaneous_callers(world: &World, name: &str) -> Result<(), String> {
    let (callers, slowest) = (fastrand::u32(2..=10), fastrand::u64(0..=10));
    let latency = Duration::from_millis(slowest / 2)..Duration::from_millis(slowest);
    let away = fastrand::usize(0..6);
    let mut calls = JoinSet::new();
    for _ in 0..callers {
        let members = world.members(latency.clone());
        if let Some(member) = members.get(away) {
            member.hang();
        }
        let (locker, name) = (locker(&members), name.to_owned());
        calls.spawn(async move { locker.lock(&name, LONG).await });
    }
    let (mut leases, mut others) = (Vec::new(), Vec::new());
    for outcome in calls.join_all().await {
        match outcome {
            Ok(LockOutcome::Granted(lease)) => leases.push(lease),
            Ok(LockOutcome::Held(holder)) => others.push(holder.fence),
            Err(error) => return Err(format!("{callers} callers, {slowest} ms, member {away} away: {error}")),
        }
    }
    let [lease] = &leases[..] else { return Err(format!("{} of {callers} callers were granted", leases.len())) };
    ensure(others.iter().all(|fence| *fence == lease.fence), || format!("{others:?} are not {}", lease.fence))?;
    world.caller().unlock(name, &lease.token).await.unwrap();
    until(async || world.stored(name).await.iter().all(Option::is_none)).await;
    Ok(())
}

async fn rolling_restart(world: &mut World, name: &str) -> Result<(), String> {
    let guard = world.caller().hold(name, Duration::from_secs(2)).await.unwrap().granted().unwrap();
    let vote = Some((guard.lease().token.as_str().to_owned(), guard.fence()));
    for member in 0..world.servers.len() {
        world.servers[member].kill();
        world.servers[member].start_again().await;
        until(async || world.servers[member].stored(name).await == vote || !guard.is_held()).await;
        ensure(guard.is_held(), || format!("the hold ended when member {member} was restarted"))?;
    }
    let released = guard.release().await.unwrap();
    ensure(released == UnlockOutcome::Released, || format!("{released:?}"))
}

async fn lost_majority(world: &World, name: &str) -> Result<(), String> {
    let caller = world.caller();
    let lease = granted(caller.lock(name, LONG).await);
    world.all_have(name).await;
    for server in &world.servers[..2] {
        _ = server.run::<u64>(&["DEL", &format!("lock:{name}")]).await;
    }
    let outcome = caller.extend(name, &lease.token, LONG).await.unwrap();
    ensure(outcome == ExtendOutcome::Absent, || format!("{outcome:?}"))?;
    until(async || world.servers[2].stored(name).await.is_none()).await;
    let members = world.members(NO_LATENCY);
    members[0].hang();
    let other = locker(&members);
    let next = granted(other.lock(name, LONG).await);
    other.unlock(name, &next.token).await.unwrap();
    Ok(())
}

async fn hanging_member(world: &World, name: &str) -> Result<(), String> {
    let away = fastrand::usize(..3);
    let [locker, other] = [(); 2].map(|()| {
        let members = world.members(NO_LATENCY);
        members[away].hang();
        // A call that waits for the member outlasts the trial.
        locker_host::Locker::new(quorum(&members).timeout(10 * LONG)).unwrap()
    });
    let calls = async {
        let lease = granted(locker.lock(name, LONG).await);
        held(other.lock(name, LONG).await);
        extended(locker.extend(name, &lease.token, LONG).await);
        ensure(other.inspect(name).await.unwrap().is_some(), || "it is held".to_owned())?;
        ensure(!other.list().await.unwrap().is_empty(), || "a lock is held".to_owned())?;
        let waiter = other.lock(name, LockOptions::from(LONG).wait(LONG));
        let (next, _) = tokio::join!(waiter, locker.unlock(name, &lease.token));
        other.unlock(name, &granted(next).token).await.map_err(|error| error.to_string()).map(|_| ())
    };
    tokio::time::timeout(LONG / 6, calls).await.unwrap_or_else(|_| Err("a call waited for the member".to_owned()))
}
