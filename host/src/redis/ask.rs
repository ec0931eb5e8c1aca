//! What a server is asked to do, and when it is asked again.

use std::time::{Duration, Instant};

use redis::{Cmd, FromRedisValue, RedisResult, Value};

use super::connection::Connection;
use super::failure;
use super::link::Link;
use super::script::Invocation;
use crate::CacheError;

pub(super) enum Step<'a> {
    Script(&'a Invocation<'a>),
    /// A script, and then, if it wrote to a slot, the number of replicas that have confirmed it, once it is this many.
    Confirmed {
        invocation: &'a Invocation<'a>,
        wrote: fn(&Value) -> bool,
        slot: u16,
        replicas: u32,
    },
    Command(&'a Cmd),
    Subscribe(&'a str),
    /// All keys that match a pattern.
    Keys(&'a str),
}

pub(super) struct Answer<T> {
    pub(super) value: T,
    /// Whether the server had been asked before and its answer was lost.
    pub(super) lost: bool,
}

/// How long to wait before a server is asked that is about to take over.
const PAUSE: Duration = Duration::from_millis(50);

impl Connection {
    /// Asks the server, and asks again if the connection was lost meanwhile: one that lay idle may have been cut long
    /// ago, and every step can be repeated. Where another server takes over, that is waited for.
    pub(super) async fn ask<T: FromRedisValue>(&self, step: &Step<'_>) -> Result<Answer<T>, CacheError> {
        let started = Instant::now();
        let (mut lost, mut again) = (false, false);
        loop {
            let error = match self.attempt(step).await {
                Ok(value) => return Ok(Answer { value, lost }),
                Err(error) => error,
            };
            let loses_answer = failure::loses_answer(&error);
            lost |= loses_answer;
            let waits = self.address().is_redundant() && failure::is_passing(&error);
            if waits && started.elapsed() + PAUSE < self.patience() {
                tokio::time::sleep(PAUSE).await;
            } else if again || !loses_answer {
                return Err(failure::translate(self.address(), error));
            }
            again = true;
        }
    }

    /// Asks once, and sees to it that the next one who comes finds the connection in order.
    async fn attempt<T: FromRedisValue>(&self, step: &Step<'_>) -> RedisResult<T> {
        let (link, generation) = self.get().await?;
        let heals_itself = matches!(link, Link::Cluster(_));
        step.take(link).await.inspect_err(|error| {
            if !heals_itself && failure::breaks_connection(error) {
                self.broke(generation);
            }
        })
    }
}

impl Step<'_> {
    /// What is rare is boxed, lest the future of what is done all the time gets large.
    async fn take<T: FromRedisValue>(&self, mut link: Link) -> RedisResult<T> {
        let answer = match self {
            Self::Script(invocation) => return invocation.run(&mut link).await,
            Self::Command(command) => return command.query_async(&mut link).await,
            Self::Confirmed { invocation, wrote, slot, replicas } => {
                let answer: Value = Box::pin(invocation.run(&mut link)).await?;
                // On the same connection: the server waits for what was written through it.
                let confirmed = if wrote(&answer) {
                    Box::pin(link.confirmations(*replicas, *slot)).await?
                } else {
                    i64::from(*replicas)
                };
                Value::Array(vec![answer, Value::Int(confirmed)])
            }
            Self::Keys(pattern) => Box::pin(link.keys(pattern)).await?,
            Self::Subscribe(channel) => Box::pin(link.subscribe(channel)).await.map(|()| Value::Nil)?,
        };
        Ok(T::from_redis_value(answer)?)
    }
}
