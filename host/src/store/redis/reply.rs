//! What a script answers: the server's time, an outcome, and what belongs to it.

use std::time::{Duration, Instant};

use redis::{ErrorKind, RedisError, RedisResult, Value};

use super::clock::Reading;
use crate::store::Entry;
use crate::time::now;

pub(super) struct Reply {
    pub(super) reading: Reading,
    pub(super) outcome: String,
    /// Whether the request had been sent before, and its reply was lost.
    pub(super) retried: bool,
    fields: std::vec::IntoIter<Value>,
}

impl Reply {
    /// The reply that has just arrived to a request that was sent at an instant.
    pub(super) fn parse(value: Value, sent: Instant) -> RedisResult<Self> {
        let Value::Array(fields) = value else { return Err(malformed()) };
        let mut reply = Self {
            reading: Reading { sent, received: now(), micros: 0 },
            outcome: String::new(),
            retried: false,
            fields: fields.into_iter(),
        };
        reply.reading.micros = reply.number()?;
        reply.outcome = reply.text()?;
        Ok(reply)
    }

    /// The next field: a number that is not negative.
    pub(super) fn number(&mut self) -> RedisResult<u64> {
        u64::try_from(self.integer()?).map_err(|_| malformed())
    }

    /// The next field: the milliseconds that are left, if the key expires.
    pub(super) fn left(&mut self) -> RedisResult<Option<Duration>> {
        Ok(u64::try_from(self.integer()?).ok().map(Duration::from_millis))
    }

    /// The next fields: value, fence and time left. Bytes that are not UTF-8 are a foreign value's, and are compared by no one here.
    pub(super) fn entry(&mut self) -> RedisResult<Entry> {
        Ok(Entry { value: self.text()?, revision: self.number()?, ttl: self.left()? })
    }

    /// The instant at which a time that was left at this reply is not over yet at the earliest.
    pub(super) fn deadline(&self, left: Duration) -> Option<Instant> {
        self.reading.sent.checked_add(left)
    }

    fn integer(&mut self) -> RedisResult<i64> {
        match self.fields.next() {
            Some(Value::Int(integer)) => Ok(integer),
            _ => Err(malformed()),
        }
    }

    pub(super) fn text(&mut self) -> RedisResult<String> {
        match self.fields.next() {
            Some(Value::BulkString(text)) => {
                Ok(String::from_utf8(text)
                    .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
            }
            Some(Value::SimpleString(text)) => Ok(text),
            _ => Err(malformed()),
        }
    }
}

pub(super) fn malformed() -> RedisError {
    RedisError::from((ErrorKind::UnexpectedReturnType, "the reply is not a script's"))
}
