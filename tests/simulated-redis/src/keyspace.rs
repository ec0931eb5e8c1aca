//! Keys and what is under them.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::value::WRONG_TYPE;

/// A database, and a key in it.
pub(crate) type Key = (u32, Vec<u8>);

pub(crate) type Keyspace = BTreeMap<Key, Entry>;

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) data: Data,
    /// The last millisecond at which the key exists.
    pub(crate) expires: Option<u64>,
}

#[derive(Clone, Debug)]
pub(crate) enum Data {
    Text(Vec<u8>),
    SortedSet(SortedSet),
    Hash(BTreeMap<Vec<u8>, Vec<u8>>),
    List(VecDeque<Vec<u8>>),
    Set(BTreeSet<Vec<u8>>),
}

impl Entry {
    pub(crate) fn new(data: Data) -> Self {
        Self { data, expires: None }
    }

    pub(crate) fn type_name(&self) -> &'static str {
        match self.data {
            Data::Text(_) => "string",
            Data::SortedSet(_) => "zset",
            Data::Hash(_) => "hash",
            Data::List(_) => "list",
            Data::Set(_) => "set",
        }
    }

    pub(crate) fn text(&self) -> Result<&[u8], String> {
        if let Data::Text(text) = &self.data { Ok(text) } else { Err(WRONG_TYPE.to_owned()) }
    }

    pub(crate) fn sorted_set(&self) -> Result<&SortedSet, String> {
        if let Data::SortedSet(set) = &self.data { Ok(set) } else { Err(WRONG_TYPE.to_owned()) }
    }
}

/// Members by score, then by bytes.
#[derive(Clone, Debug, Default)]
pub(crate) struct SortedSet {
    scores: BTreeMap<Vec<u8>, f64>,
    order: BTreeSet<(Score, Vec<u8>)>,
}

#[derive(Clone, Copy, Debug)]
struct Score(f64);

impl Ord for Score {
    fn cmp(&self, other: &Self) -> Ordering {
        // Both zeros are one score.
        (self.0 + 0.0).total_cmp(&(other.0 + 0.0))
    }
}

impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Score {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Score {}

impl SortedSet {
    pub(crate) fn len(&self) -> usize {
        self.scores.len()
    }

    pub(crate) fn score(&self, member: &[u8]) -> Option<f64> {
        self.scores.get(member).copied()
    }

    pub(crate) fn insert(&mut self, member: &[u8], score: f64) {
        self.remove(member);
        self.scores.insert(member.to_vec(), score);
        self.order.insert((Score(score), member.to_vec()));
    }

    pub(crate) fn remove(&mut self, member: &[u8]) -> bool {
        let Some(score) = self.scores.remove(member) else { return false };
        self.order.remove(&(Score(score), member.to_vec()))
    }

    pub(crate) fn rank(&self, member: &[u8]) -> Option<usize> {
        let score = self.score(member)?;
        Some(self.order.range(..(Score(score), member.to_vec())).count())
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (&[u8], f64)> {
        self.order.iter().map(|(score, member)| (&member[..], score.0))
    }
}
