//! The rounds of votes in which a caller becomes the holder of a key.

use std::ops::RangeInclusive;
use std::time::Duration;

use tokio::time::sleep_until;

use super::Quorum;
use super::members::{Answer, Answers};
use super::replies::Replies;
use super::tally::{self, Decision};
use crate::store::{CacheError, Entry, ErrorKind, Stored, Vote, VoteOutcome};
use crate::time::now;

/// A caller that wants a key.
pub(super) struct Candidate<'a> {
    quorum: &'a Quorum,
    key: &'a str,
    value: &'a str,
    ttl: Duration,
    /// The ballots of the first and the last round.
    ballots: RangeInclusive<u64>,
    votes: Vec<VoteState>,
    /// How often it went on, and how often it withdrew, since it last saw a holder.
    leads: u32,
    withdrawals: u32,
}

/// What is known of a member's vote.
#[derive(Clone, Copy, PartialEq, Eq)]
enum VoteState {
    /// The member has no vote for the value, and no request under way can change that.
    Absent,
    Present,
    /// A request was not answered, and may take effect.
    Unknown,
}

pub(super) enum Election {
    Granted(Stored),
    Held(Entry),
    /// No candidate had a majority in time.
    Split,
}

struct Round {
    replies: Replies<VoteOutcome>,
    answers: Answers<VoteOutcome>,
    decision: Option<Decision>,
    took: Duration,
}

/// For how many timeouts of a member candidates go on without a majority for one of them.
pub(super) const SPLIT_TIMEOUTS: u32 = 4;
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
/// After a withdrawal, a candidate pauses for so many times as long as a round took, and longer each time: the one that goes on needs two.
const PAUSE_ROUNDS: u32 = 3;
const MAX_DOUBLINGS: u32 = 6;

/// A pause that is twice as long each time, up to a limit.
fn doubled(pause: Duration, times: u32) -> Duration {
    pause.max(SHORTEST_PAUSE) * (1 << times.min(MAX_DOUBLINGS))
}

impl<'a> Candidate<'a> {
    pub(super) fn new(quorum: &'a Quorum, key: &'a str, value: &'a str, ttl: Duration) -> Self {
        Self {
            quorum,
            key,
            value,
            ttl,
            ballots: 0..=0,
            votes: vec![VoteState::Absent; quorum.members.len()],
            leads: 0,
            withdrawals: 0,
        }
    }

    /// Votes for the value until a majority of the members has it, or has another one.
    pub(super) async fn run(&mut self) -> Result<Election, CacheError> {
        let ends = now() + SPLIT_TIMEOUTS * self.quorum.timeout;
        loop {
            let mut round = self.round().await;
            match round.decision.take() {
                Some(Decision::Granted(stored)) => return self.granted(round, stored).map(Election::Granted),
                Some(Decision::Held(entry)) => {
                    (self.leads, self.withdrawals) = (0, 0);
                    self.adopt(&round.replies);
                    self.withdraw(self.quorum.timeout).await;
                    return Ok(Election::Held(entry));
                }
                Some(Decision::Failed) => {
                    self.withdraw(self.quorum.timeout).await;
                    let error = self.quorum.failure(&round.replies);
                    let is_absent = self.votes.iter().all(|vote| *vote == VoteState::Absent);
                    return Err(if is_absent { error.unsent() } else { error });
                }
                None if now() >= ends => {
                    self.withdraw(self.quorum.timeout).await;
                    return Ok(Election::Split);
                }
                None if tally::is_divided(&round.replies) => self.adopt(&round.replies),
                // The next ballot is high enough.
                None if tally::is_outdated(&round.replies) => {}
                // The others are about to withdraw, or went away.
                None if tally::leads(&round.replies, self.value) => {
                    sleep_until((now() + doubled(round.took / 2, self.leads)).min(ends).into()).await;
                    self.leads += 1;
                }
                None => {
                    let pause = self.quorum.random.up_to_twice(doubled(PAUSE_ROUNDS * round.took, self.withdrawals));
                    let until = (now() + pause).min(ends);
                    self.withdraw(until.saturating_duration_since(now())).await;
                    sleep_until(until.into()).await;
                    self.withdrawals += 1;
                }
            }
        }
    }

    /// Takes the votes of earlier calls with this value for its own: none of them has the lock any more.
    fn adopt(&mut self, replies: &Replies<VoteOutcome>) {
        let first = tally::own(replies).map(|stored| stored.revision).min();
        self.ballots = first.unwrap_or(u64::MAX).min(*self.ballots.start())..=*self.ballots.end();
    }

    /// Ends the candidacy. In the background, it withdraws the votes that members may still have.
    pub(super) fn give_up(self) {
        let members = (0..self.votes.len()).filter(|member| self.votes[*member] != VoteState::Absent);
        self.withdraw_later(members, self.ballots.clone());
    }

    /// Withdraws votes from `members`, in the background.
    fn withdraw_later(&self, members: impl Iterator<Item = usize>, ballots: RangeInclusive<u64>) {
        for member in members {
            self.quorum.withdraw_later(member, self.key, self.value, self.ttl, Some(ballots.clone()));
        }
    }

    /// Asks all members for their votes, until they decide. Members that are slower than the others have as much time again, unless the
    /// value is granted. A failure waits for all members: if none of them was asked, there is nothing to withdraw.
    async fn round(&mut self) -> Round {
        let (started, mut answers) = (now(), self.ask());
        let took = || now().saturating_duration_since(started);
        let mut replies = Replies::of(self.votes.len());
        let (mut limit, mut decision) = (None, None);
        while !matches!(decision, Some(Decision::Granted(_)))
            && let Some((member, answer)) = answers.next_until(limit).await
        {
            self.note(member, &answer);
            replies.add(member, answer);
            decision = tally::decision(&replies);
            if matches!(decision, Some(Decision::Held(_))) || replies.count(|_| true) >= replies.majority() {
                limit.get_or_insert_with(|| now() + took() + SHORTEST_PAUSE);
            }
        }
        for member in (0..self.votes.len()).filter(|member| replies.is_open(*member)) {
            self.votes[member] = VoteState::Unknown;
        }
        Round { replies, answers, decision, took: took() }
    }

    fn ask(&mut self) -> Answers<VoteOutcome> {
        let revision = self.quorum.ballots.next();
        let since = if *self.ballots.end() == 0 { revision } else { *self.ballots.start() };
        self.ballots = since..=revision;
        let ttl = self.ttl;
        self.quorum.ask(|member| {
            let (key, value) = (self.key.to_owned(), self.value.to_owned());
            async move { member.vote(&key, Vote { value: &value, ttl, revision, since }).await }
        })
    }

    fn note(&mut self, member: usize, answer: &Answer<VoteOutcome>) {
        match answer {
            Ok(VoteOutcome::Stored(_)) => self.votes[member] = VoteState::Present,
            Ok(VoteOutcome::Outdated(seen)) => self.quorum.ballots.outdated(*seen),
            Ok(VoteOutcome::Occupied(_)) => {}
            Err(error) if error.is_unsent() => {}
            Err(_) => self.votes[member] = VoteState::Unknown,
        }
    }

    fn granted(&self, round: Round, stored: Stored) -> Result<Stored, CacheError> {
        let deadline = Quorum::deadline(self.ttl, stored.deadline);
        if deadline <= now() {
            let message = "the caches answered too late for this time to live";
            return Err(CacheError::new(ErrorKind::Unavailable, message));
        }
        let lacks = |outcome: &VoteOutcome, revision| match outcome {
            VoteOutcome::Stored(stored) => stored.revision < revision,
            VoteOutcome::Outdated(_) => true,
            VoteOutcome::Occupied(_) => false,
        };
        if stored.revision < *self.ballots.start() {
            // The request was repeated, and members that lacked the value may have stored it with ballots of this call, and of others since.
            self.withdraw_later(0..self.votes.len(), stored.revision + 1..=*self.ballots.end());
        }
        self.quorum.restore_later(self.key, self.value, stored, round.replies, round.answers, lacks);
        Ok(Stored { deadline, ..stored })
    }

    /// Withdraws the votes of all rounds. Waits for the members that are known to have one, and for no longer than `limit`.
    async fn withdraw(&mut self, limit: Duration) {
        let limit = now() + limit;
        let mut answers = self.quorum.ask_some(
            |member| self.votes[member] != VoteState::Absent,
            |member| {
                let (key, value, ballots) = (self.key.to_owned(), self.value.to_owned(), self.ballots.clone());
                async move { member.withdraw_vote(&key, &value, ballots).await }
            },
        );
        while self.votes.contains(&VoteState::Present)
            && let Some((member, answer)) = answers.next_until(Some(limit)).await
        {
            self.votes[member] = if answer.is_ok() { VoteState::Absent } else { VoteState::Unknown };
        }
    }
}
