//! What the votes of a round decide.

use std::collections::BTreeMap;

use super::replies::{Replies, by_value, of_majority};
use crate::store::{Entry, Stored, VoteOutcome};

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// A majority has the value with this revision, at least until this deadline by the members' own account.
    Granted(Stored),
    /// A majority has another value.
    Held(Entry),
    /// Too few members answer.
    Failed,
}

/// What the votes decide so far. Votes of different revisions do not make a majority: the fence of a grant is what a majority has.
pub(super) fn decision(replies: &Replies<VoteOutcome>) -> Option<Decision> {
    if let Some(stored) = granted(replies) {
        return Some(Decision::Granted(stored));
    }
    let held = by_value(others(replies)).first().and_then(|entries| of_majority(entries, replies.majority()));
    if let Some(entry) = held {
        return Some(Decision::Held(entry));
    }
    replies.is_more_than_a_minority(replies.failed()).then_some(Decision::Failed)
}

fn granted(replies: &Replies<VoteOutcome>) -> Option<Stored> {
    let mut revisions = BTreeMap::<u64, Vec<Stored>>::new();
    for stored in own(replies) {
        revisions.entry(stored.revision).or_default().push(*stored);
    }
    let majority = revisions.into_values().find(|votes| votes.len() >= replies.majority())?;
    majority.into_iter().min_by_key(|stored| stored.deadline)
}

/// The votes for the candidate's value.
pub(super) fn own(replies: &Replies<VoteOutcome>) -> impl Iterator<Item = &Stored> {
    replies
        .answered()
        .filter_map(|(_, outcome)| if let VoteOutcome::Stored(stored) = outcome { Some(stored) } else { None })
}

fn others(replies: &Replies<VoteOutcome>) -> impl Iterator<Item = &Entry> {
    replies
        .answered()
        .filter_map(|(_, outcome)| if let VoteOutcome::Occupied(entry) = outcome { Some(entry) } else { None })
}

/// Whether the candidate `value` goes on while the others withdraw. All candidates see the same votes and decide alike: the one with the
/// most votes goes on, and of several the one with the smallest value.
pub(super) fn leads(replies: &Replies<VoteOutcome>, value: &str) -> bool {
    let own = own(replies).count();
    let best = by_value(others(replies)).first().map(|entries| (entries.len(), &entries[0].value));
    best.map_or(own > 0, |(votes, other)| own > votes || (own == votes && *value < **other))
}

/// Whether a majority has votes for the value, but with the ballots of several calls, none of which can have a majority.
pub(super) fn is_divided(replies: &Replies<VoteOutcome>) -> bool {
    let revisions: Vec<_> = own(replies).map(|stored| stored.revision).collect();
    let votes = |revision| revisions.iter().filter(|other| **other == revision).count();
    let unknown = replies.failed() + replies.open();
    let mut all = revisions.iter();
    revisions.len() >= replies.majority() && all.all(|revision| votes(*revision) + unknown < replies.majority())
}

/// Whether the round failed only because members have seen higher ballots.
pub(super) fn is_outdated(replies: &Replies<VoteOutcome>) -> bool {
    let outdated = replies.count(|outcome| matches!(outcome, VoteOutcome::Outdated(_)));
    let own = own(replies).count();
    outdated > 0 && outdated + own >= replies.majority()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::store::{CacheError, ErrorKind};
    use crate::time::now;

    fn stored(revision: u64) -> VoteOutcome {
        VoteOutcome::Stored(Stored { revision, deadline: now() + Duration::from_secs(revision) })
    }

    fn occupied(value: &str) -> VoteOutcome {
        VoteOutcome::Occupied(Entry { value: value.to_owned(), revision: 1, ttl: None })
    }

    /// The votes of three members. None is a member that fails.
    fn votes(outcomes: [Option<VoteOutcome>; 3]) -> Replies<VoteOutcome> {
        let mut replies = Replies::of(3);
        for (member, outcome) in outcomes.into_iter().enumerate() {
            replies.add(member, outcome.ok_or_else(|| CacheError::new(ErrorKind::Unavailable, "away")));
        }
        replies
    }

    #[test]
    fn votes_of_one_revision_are_a_majority_and_votes_of_two_are_none() {
        let two = votes([Some(stored(2)), Some(stored(2)), None]);
        assert!(matches!(decision(&two), Some(Decision::Granted(Stored { revision: 2, .. }))));
        assert_eq!(decision(&votes([Some(stored(1)), Some(stored(2)), None])), None);
    }

    #[test]
    fn votes_of_several_calls_are_divided_unless_one_of_them_may_have_a_majority() {
        for (votes_of, divided) in [([Some(1), Some(2), Some(3)], true), ([Some(1), Some(2), None], false)] {
            assert_eq!(is_divided(&votes(votes_of.map(|revision| revision.map(stored)))), divided, "{votes_of:?}");
        }
        assert!(!is_divided(&votes([Some(stored(1)), Some(stored(1)), Some(stored(2))])));
        assert!(!is_divided(&votes([Some(stored(1)), Some(occupied("b")), Some(occupied("c"))])));
    }

    #[test]
    fn a_minoritys_value_is_not_the_holder() {
        assert!(matches!(decision(&votes([Some(occupied("b")), Some(occupied("b")), None])), Some(Decision::Held(_))));
        assert_eq!(decision(&votes([Some(occupied("b")), Some(occupied("c")), None])), None);
        assert_eq!(decision(&votes([Some(occupied("b")), None, Some(stored(1))])), None);
        assert_eq!(decision(&votes([Some(occupied("b")), None, None])), Some(Decision::Failed));
    }

    #[test]
    fn of_the_candidates_that_see_the_same_votes_exactly_one_goes_on() {
        let of = |candidate: &str, values: [&str; 3]| {
            let vote = |value: &str| Some(if value == candidate { stored(1) } else { occupied(value) });
            leads(&votes(values.map(vote)), candidate)
        };
        for values in [["a", "b", "c"], ["b", "a", "b"], ["c", "c", "a"], ["c", "b", "a"]] {
            assert_eq!(["a", "b", "c"].iter().filter(|candidate| of(candidate, values)).count(), 1, "{values:?}");
        }
        assert!(!of("d", ["a", "b", "c"]), "a candidate without a vote does not go on");
    }
}
