//! The answers of the members so far, and what a majority of them says.

use std::collections::BTreeMap;
use std::time::Duration;

use super::members::Answer;
use crate::store::{CacheError, Entry};

/// What each member answered, as far as it has answered.
pub(super) struct Replies<T>(Vec<Option<Answer<T>>>);

impl<T> Replies<T> {
    pub(super) fn of(members: usize) -> Self {
        Self((0..members).map(|_| None).collect())
    }

    pub(super) fn add(&mut self, member: usize, answer: Answer<T>) {
        self.0[member] = Some(answer);
    }

    pub(super) fn majority(&self) -> usize {
        self.0.len() / 2 + 1
    }

    /// Whether so many members may be without a majority's decision.
    pub(super) fn is_more_than_a_minority(&self, members: usize) -> bool {
        members > self.0.len() - self.majority()
    }

    /// The members that answered or failed, and what.
    pub(super) fn all(&self) -> impl Iterator<Item = (usize, &Answer<T>)> {
        self.0.iter().enumerate().filter_map(|(member, answer)| Some((member, answer.as_ref()?)))
    }

    /// The members that answered, and what.
    pub(super) fn answered(&self) -> impl Iterator<Item = (usize, &T)> {
        self.all().filter_map(|(member, answer)| Some((member, answer.as_ref().ok()?)))
    }

    pub(super) fn count(&self, what: impl Fn(&T) -> bool) -> usize {
        self.answered().filter(|(_, answer)| what(answer)).count()
    }

    pub(super) fn failed(&self) -> usize {
        self.0.iter().flatten().filter(|answer| answer.is_err()).count()
    }

    /// How many members have not answered yet.
    pub(super) fn open(&self) -> usize {
        self.0.iter().filter(|answer| answer.is_none()).count()
    }

    pub(super) fn is_open(&self, member: usize) -> bool {
        self.0[member].is_none()
    }

    pub(super) fn errors(&self) -> impl Iterator<Item = &CacheError> {
        self.all().filter_map(|(_, answer)| answer.as_ref().err())
    }
}

/// The entries of each value, those of the most frequent value first.
pub(super) fn by_value<'a>(entries: impl Iterator<Item = &'a Entry>) -> Vec<Vec<&'a Entry>> {
    let mut values = BTreeMap::<&str, Vec<&Entry>>::new();
    for entry in entries {
        values.entry(&entry.value).or_default().push(entry);
    }
    let mut values: Vec<_> = values.into_values().collect();
    // Stable: of equally frequent ones, the smallest value is the first.
    values.sort_by_key(|entries| std::cmp::Reverse(entries.len()));
    values
}

/// What a majority of members has, if these entries have the same value.
pub(super) fn of_majority(entries: &[&Entry], majority: usize) -> Option<Entry> {
    let mut times: Vec<_> = entries.iter().map(|entry| entry.ttl.unwrap_or(Duration::MAX)).collect();
    times.sort_unstable_by(|a, b| b.cmp(a));
    // A majority has the value until this member removes it.
    let ttl = *times.get(majority - 1)?;
    let revisions: Vec<_> = entries.iter().map(|entry| entry.revision).collect();
    let revision = revision_of_majority(&revisions, majority).or_else(|| revisions.into_iter().max())?;
    Some(Entry { value: entries.first()?.value.clone(), revision, ttl: Some(ttl).filter(|ttl| *ttl != Duration::MAX) })
}

/// The one of these revisions that a majority of members has.
pub(super) fn revision_of_majority(revisions: &[u64], majority: usize) -> Option<u64> {
    let votes = |revision| revisions.iter().filter(|other| **other == revision).count();
    revisions.iter().copied().find(|revision| votes(*revision) >= majority)
}
