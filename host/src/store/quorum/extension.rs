//! An extension, and the restoration of members that lost the lock.

use std::time::Duration;

use super::Quorum;
use super::members::Answers;
use super::replies::{Replies, revision_of_majority};
use super::restorations::Expected;
use crate::store::{CacheError, ErrorKind, ExtendOutcome, Stored};
use crate::time::now;

#[derive(Debug, PartialEq, Eq)]
enum Decision {
    /// A majority has the value, at least until this deadline by the members' own account.
    Extended(Stored),
    /// A majority does not have the value, so no renewal will ever succeed.
    Lost(ExtendOutcome),
}

impl Quorum {
    pub(super) async fn extend(&self, key: &str, value: &str, ttl: Duration) -> Result<ExtendOutcome, CacheError> {
        let answers = self.ask(|member| {
            let (key, value) = (key.to_owned(), value.to_owned());
            async move { member.extend_if_equal(&key, &value, ttl).await }
        });
        self.extended(key, value, value, ttl, answers).await
    }

    pub(super) async fn replace(
        &self,
        key: &str,
        value: &str,
        replacement: &str,
        ttl: Duration,
    ) -> Result<ExtendOutcome, CacheError> {
        let answers = self.ask(|member| {
            let (key, value, replacement) = (key.to_owned(), value.to_owned(), replacement.to_owned());
            async move { member.replace_vote(&key, &value, &replacement, ttl).await }
        });
        let outcome = self.extended(key, value, replacement, ttl, answers).await;
        if let Ok(ExtendOutcome::Absent | ExtendOutcome::Different) = outcome {
            // Members may have replaced it before a majority refused.
            self.withdraw_everywhere(key, replacement, ttl);
        }
        outcome
    }

    /// What the members decide. Those that extended it have `now_value`, and the others may still have `value`.
    async fn extended(
        &self,
        key: &str,
        value: &str,
        now_value: &str,
        ttl: Duration,
        mut answers: Answers<ExtendOutcome>,
    ) -> Result<ExtendOutcome, CacheError> {
        let mut replies = Replies::of(self.members.len());
        while let Some((member, answer)) = answers.next().await {
            replies.add(member, answer);
            match decision(&replies) {
                Some(Decision::Extended(stored)) => {
                    self.restore_later(key, now_value, stored, replies, answers, lacks);
                    return Ok(ExtendOutcome::Extended(Stored {
                        deadline: Self::deadline(ttl, stored.deadline),
                        ..stored
                    }));
                }
                Some(Decision::Lost(outcome)) => {
                    self.withdraw_rest(key, value, ttl, &replies);
                    return Ok(outcome);
                }
                None => {}
            }
        }
        // The members that did not answer may make it a majority, or say which fence is the one of the grant.
        if extended_by(&replies).count() < self.majority() {
            return Err(self.failure(&replies));
        }
        let message = format!(
            "a majority has extended it, and they do not agree on its fence while {} of the {} caches fail: try again",
            replies.failed(),
            self.members.len()
        );
        Err(CacheError::new(ErrorKind::Unavailable, message))
    }

    /// A minority that has the value of a lost lock hinders the next holder.
    fn withdraw_rest(&self, key: &str, value: &str, ttl: Duration, replies: &Replies<ExtendOutcome>) {
        let gone = [ExtendOutcome::Absent, ExtendOutcome::Different];
        let without: Vec<_> =
            replies.answered().filter(|(_, outcome)| gone.contains(outcome)).map(|(member, _)| member).collect();
        for member in (0..self.members.len()).filter(|member| !without.contains(member)) {
            self.withdraw_later(member, key, value, ttl, None);
        }
    }

    /// Restores the value, which a majority has, on the members that lack it, in the background.
    pub(super) fn restore_later<T: Send + 'static>(
        &self,
        key: &str,
        value: &str,
        stored: Stored,
        replies: Replies<T>,
        mut answers: Answers<T>,
        lacks: fn(&T, u64) -> bool,
    ) {
        let lacking: Vec<_> =
            replies.answered().filter(|(_, answer)| lacks(answer, stored.revision)).map(|(member, _)| member).collect();
        if lacking.is_empty() && replies.open() == 0 {
            return;
        }
        let open = (0..self.members.len()).filter(|member| replies.is_open(*member));
        let mut expected = self.restorations.expect(lacking.iter().copied().chain(open), key, value);
        let (quorum, key, value) = (self.clone(), key.to_owned(), value.to_owned());
        self.tasks.spawn(async move {
            quorum.restore(&lacking, &key, &value, stored, &expected).await;
            while let Some((member, answer)) = answers.next().await {
                if answer.is_ok_and(|answer| lacks(&answer, stored.revision)) {
                    quorum.restore(&[member], &key, &value, stored, &expected).await;
                } else {
                    expected.settle(member);
                }
            }
        });
    }

    async fn restore(&self, members: &[usize], key: &str, value: &str, stored: Stored, expected: &Expected) {
        let ttl = stored.deadline.saturating_duration_since(now());
        if members.is_empty() || ttl.is_zero() {
            return;
        }
        members.iter().for_each(|member| expected.send(*member, stored.deadline));
        let mut answers = self.ask_some(
            |member| members.contains(&member),
            |member| {
                let (key, value) = (key.to_owned(), value.to_owned());
                async move { member.restore(&key, &value, ttl, stored.revision).await }
            },
        );
        // A member that fails is asked again after the next extension.
        while answers.next().await.is_some() {}
    }
}

fn lacks(outcome: &ExtendOutcome, revision: u64) -> bool {
    match outcome {
        ExtendOutcome::Extended(stored) => stored.revision < revision,
        ExtendOutcome::Absent => true,
        ExtendOutcome::Different => false,
    }
}

fn extended_by(replies: &Replies<ExtendOutcome>) -> impl Iterator<Item = &Stored> {
    replies
        .answered()
        .filter_map(|(_, outcome)| if let ExtendOutcome::Extended(stored) = outcome { Some(stored) } else { None })
}

/// What a majority decides so far. Any majority shares a member with the one that granted the lock, and no vote for the value has a higher
/// fence than the grant, unless the request was repeated after it: so the fence of the grant is the one of a majority, or the highest one if no
/// member fails.
fn decision(replies: &Replies<ExtendOutcome>) -> Option<Decision> {
    let revisions: Vec<_> = extended_by(replies).map(|stored| stored.revision).collect();
    if revisions.len() >= replies.majority() {
        let of_majority = revision_of_majority(&revisions, replies.majority());
        // The other members may decide which one it is.
        let is_unclear = of_majority.is_none() && replies.open() + replies.failed() > 0;
        let highest = || revisions.iter().copied().max().filter(|_| !is_unclear);
        let revision = of_majority.or_else(highest)?;
        let deadline = extended_by(replies).map(|stored| stored.deadline).min()?;
        return Some(Decision::Extended(Stored { revision, deadline }));
    }
    let different = replies.count(|outcome| *outcome == ExtendOutcome::Different);
    let absent = replies.count(|outcome| *outcome == ExtendOutcome::Absent);
    replies.is_more_than_a_minority(different + absent).then_some(Decision::Lost(if different >= replies.majority() {
        ExtendOutcome::Different
    } else {
        ExtendOutcome::Absent
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What three members decide that have these fences, or none. The last one may fail.
    fn fence(fences: [Option<u64>; 3], fails: bool) -> Option<u64> {
        let (mut replies, deadline) = (Replies::of(3), now());
        for (member, revision) in fences.into_iter().enumerate() {
            let outcome = revision
                .map_or(ExtendOutcome::Absent, |revision| ExtendOutcome::Extended(Stored { revision, deadline }));
            let failure = || CacheError::new(ErrorKind::Unavailable, "away");
            replies.add(member, if fails && member == 2 { Err(failure()) } else { Ok(outcome) });
        }
        let Some(Decision::Extended(stored)) = decision(&replies) else { return None };
        Some(stored.revision)
    }

    #[test]
    fn the_fence_of_a_lease_is_the_one_of_a_majority_or_the_highest_one_if_all_answer() {
        assert_eq!(fence([Some(1), Some(1), Some(2)], false), Some(1));
        assert_eq!(fence([Some(1), Some(2), None], false), Some(2));
        assert_eq!(fence([Some(1), Some(1), None], true), Some(1));
        assert_eq!(fence([Some(1), Some(2), None], true), None);
    }
}
