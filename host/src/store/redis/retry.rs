//! What a server is asked to do, and when it is asked again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::{Cmd, FromRedisValue, RedisResult, Value};

use super::client::{self, Client, query};
use super::clock::Reading;
use super::connection::Connection;
use super::failure;
use super::reply::Reply;
use super::script::{Invocation, Mark, Terms};
use crate::store::{CacheError, ErrorKind};
use crate::time::{elapsed, millis_ceil, now};

/// What is not a script.
pub(super) enum Request<'a> {
    Command(&'a Cmd),
    Subscribe(&'a str),
    /// All keys that match a pattern.
    Keys(&'a str),
}

/// How many replicas are to confirm a script, and after which outcomes.
#[derive(Clone, Copy)]
pub(super) struct Confirmation {
    pub(super) replicas: u32,
    pub(super) wrote: fn(&str) -> bool,
}

/// The outcome of a script whose use-by had passed.
const LATE: &str = "late";
/// How often a script that was late is repeated: the first request to a server always is, and a clock may have been set.
const MOST_LATE: usize = 3;
/// How long to wait before a server is asked that is about to take over.
const RETRY_DELAY: Duration = Duration::from_millis(50);

/// Decides whether a failed attempt is repeated.
struct Retries {
    started: Instant,
    retried: bool,
    again: bool,
    /// Whether an attempt may have reached a server.
    sent: bool,
}

/// Why an attempt failed.
struct Failure {
    error: redis::RedisError,
    /// Whether it failed after there was a connection.
    sent: bool,
}

impl Retries {
    fn new() -> Self {
        Self { started: now(), retried: false, again: false, sent: false }
    }

    /// Returns when it is time for the next attempt, or with the error: a connection that was idle may have been cut long ago, and every
    /// request can be repeated once. Where another server takes over, that is waited for.
    async fn after(&mut self, connection: &Connection, failure: Failure) -> Result<(), CacheError> {
        let Failure { error, sent } = failure;
        self.sent |= sent;
        let loses_answer = failure::loses_answer(&error);
        self.retried |= loses_answer;
        let waits = connection.address().is_redundant() && failure::is_passing(&error);
        if waits && elapsed(self.started) + RETRY_DELAY < connection.timeout() {
            tokio::time::sleep(RETRY_DELAY).await;
        } else if self.again || !loses_answer {
            let translate = if self.sent { failure::translate } else { failure::translate_unsent };
            let error = translate(connection.address(), error);
            // A refusal says nothing of an earlier attempt whose answer was lost.
            return Err(if self.retried { error.partial() } else { error });
        }
        self.again = true;
        Ok(())
    }
}

impl Connection {
    /// Runs a script. Each attempt has the instant at which it times out as its use-by, in the server's time as far as it is known. An
    /// attempt that lost its connection may take effect until then.
    pub(super) async fn run(self: &Arc<Self>, invocation: &Invocation<'_>) -> Result<Reply, CacheError> {
        self.run_confirmed(invocation, None).await.map(|(reply, _)| reply)
    }

    /// Runs a script and then, if it wrote, waits until so many replicas have confirmed that. Answers how many have.
    pub(super) async fn run_confirmed(
        self: &Arc<Self>,
        invocation: &Invocation<'_>,
        confirmation: Option<Confirmation>,
    ) -> Result<(Reply, i64), CacheError> {
        let (mut retries, mut late) = (Retries::new(), 0);
        loop {
            let answer = self.attempt(|client| self.run_once(invocation, confirmation, retries.retried, client)).await;
            let error = match answer {
                Ok((reply, _)) if reply.outcome == LATE && late < MOST_LATE => {
                    late += 1;
                    continue;
                }
                Ok((reply, _)) if reply.outcome == LATE => return Err(self.clock_jumps()),
                Ok((mut reply, confirmed)) => {
                    reply.retried = retries.retried;
                    return Ok((reply, confirmed));
                }
                Err(error) => error,
            };
            // Boxed to keep the common future small.
            Box::pin(retries.after(self, error)).await?;
        }
    }

    async fn run_once(
        &self,
        invocation: &Invocation<'_>,
        confirmation: Option<Confirmation>,
        retried: bool,
        client: Arc<dyn Client>,
    ) -> RedisResult<(Reply, i64)> {
        let slot = self.clock_slot(invocation.slot);
        let sent = now();
        let use_by = self.clocks().use_by(slot, sent + self.timeout());
        let marks = invocation.mark == Mark::Always || (retried && invocation.mark == Mark::IfRetried);
        let mark = if marks { millis_ceil(self.longest_delay()) } else { 0 };
        let reply = invocation.run(&*client, Terms { use_by, mark }, sent).await?;
        self.clocks().note(slot, reply.reading);
        let Some(Confirmation { replicas, wrote }) = confirmation else { return Ok((reply, 0)) };
        if !wrote(&reply.outcome) {
            return Ok((reply, i64::from(replicas)));
        }
        // On the same connection: the server waits for what was written through it.
        let confirmed = Box::pin(client::confirmations(&*client, replicas, invocation.slot)).await?;
        Ok((reply, confirmed))
    }

    fn clock_jumps(&self) -> CacheError {
        let message = format!("{} has a clock that jumps: no request arrives in time", self.address());
        CacheError::new(ErrorKind::Unavailable, message)
    }

    /// Sends what is not a script.
    pub(super) async fn execute<T: FromRedisValue>(self: &Arc<Self>, request: &Request<'_>) -> Result<T, CacheError> {
        let mut retries = Retries::new();
        loop {
            match self.attempt(|client| request.execute(client, self.address().is_cluster())).await {
                Ok(value) => return Ok(value),
                Err(error) => Box::pin(retries.after(self, error)).await?,
            }
        }
    }

    /// Makes one attempt, and leaves the connection in order for the next one.
    async fn attempt<T, F>(self: &Arc<Self>, send: impl FnOnce(Arc<dyn Client>) -> F) -> Result<T, Failure>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let (client, generation) = self.get().await.map_err(|error| Failure { error, sent: false })?;
        send(client).await.map_err(|error| {
            match (self.address().is_cluster(), failure::breaks_connection(&error)) {
                (false, true) => self.invalidate(generation),
                // The connection to a cluster heals itself, but goes on asking a node that hangs after another one has taken over.
                (true, _) if error.is_timeout() => self.replace(generation),
                _ => {}
            }
            Failure { error, sent: true }
        })
    }

    /// A single server has one clock.
    fn clock_slot(&self, slot: u16) -> u16 {
        if self.address().is_cluster() { slot } else { 0 }
    }

    /// What is known of the clock of the server that serves a slot.
    pub(super) fn reading(&self, slot: u16) -> Option<Reading> {
        self.clocks().reading(self.clock_slot(slot))
    }
}

impl Request<'_> {
    async fn execute<T: FromRedisValue>(&self, client: Arc<dyn Client>, is_cluster: bool) -> RedisResult<T> {
        let answer = match self {
            Self::Command(command) => return query(&*client, command, None).await,
            Self::Keys(pattern) => Box::pin(client::keys(&*client, is_cluster, pattern)).await?,
            Self::Subscribe(channel) => client.subscribe(channel).await.map(|()| Value::Nil)?,
        };
        Ok(T::from_redis_value(answer)?)
    }
}
