//! How the members delete a value.

use std::time::Duration;

use super::Quorum;
use super::members::{ASSUMED_TTL, Answer, Answers};
use super::replies::Replies;
use crate::store::{CacheError, DeleteOutcome};

impl Quorum {
    pub(super) async fn delete(&self, key: &str, value: &str) -> Result<DeleteOutcome, CacheError> {
        let mut answers = self.ask_each(
            |_| true,
            |number, member| {
                let (key, value) = (key.to_owned(), value.to_owned());
                let may_return = self.restorations.may_arrive(number, &key, &value);
                async move {
                    let outcome = member.delete_if_equal(&key, &value).await?;
                    if may_return {
                        member.withdraw(&key, &value).await?;
                    }
                    Ok(outcome)
                }
            },
        );
        let (mut replies, mut outcome) = (Replies::of(self.members.len()), None);
        while outcome.is_none()
            && let Some((member, answer)) = answers.next().await
        {
            replies.add(member, answer);
            outcome = deleted(&replies);
        }
        if outcome.is_none() && !replies.is_more_than_a_minority(replies.failed()) {
            outcome = self.keep_deleted(key, value, &replies).await;
        }
        // A member without the value may still be restored: the withdrawal prevents that.
        let needs_withdrawal: fn(&_) -> _ = match outcome {
            Some(DeleteOutcome::Deleted) => |answer| !is_deleted(answer),
            _ => Result::is_err,
        };
        let result = outcome.ok_or_else(|| self.failure(&replies));
        self.withdraw_from(key, value, &replies, answers, needs_withdrawal);
        result
    }

    /// The members that failed may have been part of the majority, and one without the value may be about to be restored. It is deleted once the
    /// others do not store it any more.
    async fn keep_deleted(&self, key: &str, value: &str, replies: &Replies<DeleteOutcome>) -> Option<DeleteOutcome> {
        let lacks: Vec<_> = replies.answered().filter(|(_, answer)| **answer != DeleteOutcome::Deleted).collect();
        let mut deleted = replies.count(|answer| *answer == DeleteOutcome::Deleted);
        let mut answers = self.ask_some(
            |member| lacks.iter().any(|(lacks, _)| *lacks == member),
            |member| {
                let (key, value) = (key.to_owned(), value.to_owned());
                async move { member.withdraw(&key, &value).await }
            },
        );
        while deleted < self.majority() {
            deleted += usize::from(answers.next().await?.1.is_ok());
        }
        Some(DeleteOutcome::Deleted)
    }

    /// Withdraws the value in the background from all members.
    pub(super) fn withdraw_everywhere(&self, key: &str, value: &str, ttl: Duration) {
        (0..self.members.len()).for_each(|member| self.withdraw_later(member, key, value, ttl, None));
    }

    /// Withdraws the value in the background from each member that needs it, now and as the rest of the answers come.
    pub(super) fn withdraw_from<T: Send + 'static>(
        &self,
        key: &str,
        value: &str,
        replies: &Replies<T>,
        mut answers: Answers<T>,
        needs_withdrawal: fn(&Answer<T>) -> bool,
    ) {
        for (member, answer) in replies.all() {
            if needs_withdrawal(answer) {
                self.withdraw_later(member, key, value, ASSUMED_TTL, None);
            }
        }
        if replies.open() > 0 {
            let (quorum, key, value) = (self.clone(), key.to_owned(), value.to_owned());
            self.tasks.spawn(async move {
                while let Some((member, answer)) = answers.next().await {
                    if needs_withdrawal(&answer) {
                        quorum.withdraw_later(member, &key, &value, ASSUMED_TTL, None);
                    }
                }
            });
        }
    }
}

/// What a majority of the members says of a deletion so far.
fn deleted(replies: &Replies<DeleteOutcome>) -> Option<DeleteOutcome> {
    let count = |outcome| replies.count(|answer| *answer == outcome);
    let (deleted, different, absent) =
        (count(DeleteOutcome::Deleted), count(DeleteOutcome::Different), count(DeleteOutcome::Absent));
    if deleted >= replies.majority() {
        return Some(DeleteOutcome::Deleted);
    }
    if different >= replies.majority() {
        return Some(DeleteOutcome::Different);
    }
    replies.is_more_than_a_minority(different + absent).then_some(DeleteOutcome::Absent)
}

fn is_deleted(answer: &Answer<DeleteOutcome>) -> bool {
    matches!(answer, Ok(DeleteOutcome::Deleted))
}
