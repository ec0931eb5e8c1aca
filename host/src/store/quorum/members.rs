//! One question to all members, and their answers as they come.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{timeout, timeout_at};

use super::Quorum;
use super::replies::Replies;
use crate::store::orphan_cleanup::{Orphan, OrphanCleanup};
use crate::store::{CacheError, ErrorKind, QuorumMember};
use crate::time::now;

pub(super) struct Member {
    pub(super) store: Arc<dyn QuorumMember>,
    /// The values that the member could not be asked to withdraw.
    pub(super) cleanup: OrphanCleanup,
}

/// What a member answered.
pub(super) type Answer<T> = Result<T, CacheError>;

/// The answers to one question. The members are asked even if the caller goes away.
pub(super) struct Answers<T> {
    receiver: UnboundedReceiver<(usize, Answer<T>)>,
}

impl Quorum {
    /// Asks all members the same question.
    pub(super) fn ask<T, F>(&self, question: impl Fn(Arc<dyn QuorumMember>) -> F) -> Answers<T>
    where
        T: Send + 'static,
        F: Future<Output = Answer<T>> + Send + 'static,
    {
        self.ask_some(|_| true, question)
    }

    /// Asks the members that are `chosen`.
    pub(super) fn ask_some<T, F>(
        &self,
        chosen: impl Fn(usize) -> bool,
        question: impl Fn(Arc<dyn QuorumMember>) -> F,
    ) -> Answers<T>
    where
        T: Send + 'static,
        F: Future<Output = Answer<T>> + Send + 'static,
    {
        self.ask_each(chosen, |_, member| question(member))
    }

    /// Asks each member that is `chosen` its own question, by its number.
    pub(super) fn ask_each<T, F>(
        &self,
        chosen: impl Fn(usize) -> bool,
        question: impl Fn(usize, Arc<dyn QuorumMember>) -> F,
    ) -> Answers<T>
    where
        T: Send + 'static,
        F: Future<Output = Answer<T>> + Send + 'static,
    {
        let (sender, receiver) = unbounded_channel();
        for (number, member) in self.members.iter().enumerate().filter(|(number, _)| chosen(*number)) {
            let (answer, sender, limit) = (question(number, member.store.clone()), sender.clone(), self.timeout);
            self.tasks.spawn(async move {
                let silent = |_| Err(CacheError::new(ErrorKind::Unavailable, format!("no answer in {limit:?}")));
                let answer = timeout(limit, answer).await.unwrap_or_else(silent);
                // No caller may be interested any more.
                _ = sender.send((number, answer));
            });
        }
        Answers { receiver }
    }

    /// Withdraws the value from a member in the background, until it answers or the value has expired. With `votes`, only those, since there may be
    /// later ones for the value.
    pub(super) fn withdraw_later(
        &self,
        member: usize,
        key: &str,
        value: &str,
        ttl: Duration,
        votes: Option<RangeInclusive<u64>>,
    ) {
        let gone = now().checked_add(ttl).unwrap_or_else(|| now() + ASSUMED_TTL);
        let orphan = Orphan { key: key.to_owned(), value: value.to_owned(), votes, gone };
        self.members[member].cleanup.add(orphan, &Handle::current());
    }

    /// Why there is no majority: the members' common refusal, or that too many of them failed.
    pub(super) fn failure<T>(&self, replies: &Replies<T>) -> CacheError {
        let errors: Vec<_> = replies.errors().collect();
        let refused = || errors.iter().filter(|error| error.kind() != ErrorKind::Unavailable);
        let kind = refused().next().filter(|_| refused().count() >= self.majority()).map(|error| error.kind());
        let mut reasons: Vec<_> = errors.iter().map(ToString::to_string).collect();
        reasons.dedup();
        let (failed, all, reasons) = (errors.len(), self.members.len(), reasons.join("; "));
        let message = format!("{failed} of {all} caches failed, and a majority is needed: {reasons}");
        CacheError::new(kind.unwrap_or(ErrorKind::Unavailable), message)
    }
}

/// How long a member may have a value whose time to live is not known here.
pub(super) const ASSUMED_TTL: Duration = Duration::from_secs(60 * 60);

impl<T> Answers<T> {
    /// The next member that answers, and its answer. None when all have answered, or timed out.
    pub(super) async fn next(&mut self) -> Option<(usize, Answer<T>)> {
        self.receiver.recv().await
    }

    /// The same, but none from `limit` on, if there is one.
    pub(super) async fn next_until(&mut self, limit: Option<Instant>) -> Option<(usize, Answer<T>)> {
        match limit {
            Some(limit) => timeout_at(limit.into(), self.next()).await.ok().flatten(),
            None => self.next().await,
        }
    }
}
