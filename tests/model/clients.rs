//! Clients of a store, who note what they ask and what they are told.

use std::sync::Arc;
use std::time::{Duration, Instant};

use locker_host::cache::{DeleteOutcome, Entry, ExtendOutcome, SetOutcome, Vote, VoteOutcome};

use locker_host::QuorumMember;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::reference::{Answer, Event, Request, Seen};

/// A client with a connection of its own.
pub(super) struct Client {
    pub(super) number: usize,
    pub(super) cache: Arc<dyn QuorumMember>,
}

impl Client {
    pub(super) async fn ask(&self, key: &str, request: Request) -> Event {
        let asked = Instant::now();
        let answer = self.answer(key, &request).await;
        let told = Instant::now();
        Event { client: self.number, key: key.to_owned(), request, answer, asked, told }
    }

    async fn answer(&self, key: &str, request: &Request) -> Answer {
        let cache = &self.cache;
        let answer = match request {
            Request::Set { value, ttl, wait } => {
                cache.set_if_absent(key, value, Some(*ttl), *wait).await.map(|outcome| match outcome {
                    SetOutcome::Stored(stored) => {
                        Answer::Stored { revision: stored.revision, ttl: left(stored.deadline) }
                    }
                    SetOutcome::Occupied(entry) => Answer::Occupied(entry.into()),
                })
            }
            Request::Extend { value, ttl } => cache.extend_if_equal(key, value, *ttl).await.map(Into::into),
            Request::Replace { value, by, ttl } => cache.replace_if_equal(key, value, by, *ttl).await.map(Into::into),
            Request::Delete { value } => cache.delete_if_equal(key, value).await.map(|outcome| match outcome {
                DeleteOutcome::Deleted => Answer::Deleted,
                DeleteOutcome::Absent => Answer::Absent,
                DeleteOutcome::Different => Answer::Different,
            }),
            Request::Vote { value, revision, ttl, since } => {
                let vote = Vote { value, ttl: *ttl, revision: *revision, since: *since };
                cache.vote(key, vote).await.map(|outcome| match outcome {
                    VoteOutcome::Stored(stored) => {
                        Answer::Stored { revision: stored.revision, ttl: left(stored.deadline) }
                    }
                    VoteOutcome::Occupied(entry) => Answer::Occupied(entry.into()),
                    VoteOutcome::Outdated(revision) => Answer::Outdated(revision),
                })
            }
            Request::WithdrawVote { value, revisions } => {
                cache.withdraw_vote(key, value, revisions.clone()).await.map(|()| Answer::Withdrawn)
            }
            Request::Get => {
                cache.get(key).await.map(|entry| entry.map_or(Answer::Absent, |entry| Answer::Found(entry.into())))
            }
        };
        answer.unwrap_or_else(|error| Answer::Failed(error.to_string()))
    }
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

impl From<ExtendOutcome> for Answer {
    fn from(outcome: ExtendOutcome) -> Self {
        match outcome {
            ExtendOutcome::Extended(stored) => Self::Extended { revision: stored.revision, ttl: left(stored.deadline) },
            ExtendOutcome::Absent => Self::Absent,
            ExtendOutcome::Different => Self::Different,
        }
    }
}

impl From<Entry> for Seen {
    fn from(Entry { value, revision, ttl }: Entry) -> Self {
        Self { value: Some(value), revision, ttl }
    }
}

/// What several do at once, each of them one thing after the other.
pub(super) async fn at_once(workers: Vec<impl Worker>) -> Vec<Event> {
    let start = Arc::new(Barrier::new(workers.len()));
    let mut running = JoinSet::new();
    for worker in workers {
        let start = start.clone();
        running.spawn(async move {
            start.wait().await;
            worker.work().await
        });
    }
    running.join_all().await.concat()
}

/// A client with requests to make.
pub(super) trait Worker: Send + 'static {
    fn work(self) -> impl Future<Output = Vec<Event>> + Send;
}

/// A client and all that it is to ask, of which key.
pub(super) struct Script(pub(super) Client, pub(super) Vec<(String, Request)>);

impl Worker for Script {
    async fn work(self) -> Vec<Event> {
        let Self(client, requests) = self;
        let mut events = Vec::new();
        for (key, request) in requests {
            events.push(client.ask(&key, request).await);
        }
        events
    }
}
