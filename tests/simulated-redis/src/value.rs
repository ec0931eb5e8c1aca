//! Replies.

use redis::{RedisError, RedisResult, Value};

/// What a command answers: a value, or the text of an error with its code.
pub(crate) type Reply = Result<Value, String>;

pub(crate) const WRONG_TYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";
pub(crate) const SYNTAX: &str = "ERR syntax error";

pub(crate) fn bulk(text: impl AsRef<[u8]>) -> Value {
    Value::BulkString(text.as_ref().to_vec())
}

pub(crate) fn integer(number: usize) -> Value {
    Value::Int(i64::try_from(number).unwrap_or(i64::MAX))
}

pub(crate) fn nil_or(text: Option<impl AsRef<[u8]>>) -> Value {
    text.map_or(Value::Nil, bulk)
}

/// An error inside of a reply.
pub(crate) fn server_error(text: &str) -> Value {
    let line = text.replace(['\r', '\n'], " ");
    redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap_or(Value::Nil)
}

/// A reply as the redis crate returns it.
pub(crate) fn result(reply: Reply) -> RedisResult<Value> {
    reply.or_else(|text| server_error(&text).extract_error())
}

/// The error of a connection that is closed.
pub(crate) fn closed() -> RedisError {
    std::io::Error::from(std::io::ErrorKind::BrokenPipe).into()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
