//! Replies, and whether two servers agree in them.

use redis::Value;

/// An error that is the whole reply.
pub(super) fn error_of(reply: Value) -> redis::RedisResult<Value> {
    if let Value::ServerError(_) = reply { reply.extract_error() } else { Ok(reply) }
}

/// The reply, or the text of the error.
pub(super) fn readable(reply: redis::RedisResult<Value>) -> Result<Value, String> {
    reply.map_err(|error| [error.code().unwrap_or_default(), error.detail().unwrap_or_default()].join(" "))
}

/// The server time in the reply of a script.
pub(super) fn time_of(reply: &Value) -> Option<u64> {
    match reply {
        Value::Array(fields) => match fields.first() {
            Some(Value::Int(micros)) if *micros > 1_000_000_000_000_000 => u64::try_from(*micros).ok(),
            _ => None,
        },
        _ => None,
    }
}

/// Whether two replies differ in nothing but in times that two servers cannot share.
pub(super) fn agree(command: &[String], real: &Result<Value, String>, simulated: &Result<Value, String>) -> bool {
    let (Ok(real), Ok(simulated)) = (real, simulated) else { return real == simulated };
    match &command[0].to_ascii_uppercase()[..] {
        "TIME" => {
            matches!((real, simulated), (Value::Array(real), Value::Array(simulated)) if real.len() == simulated.len())
        }
        "INFO" => line(&text(real), "run_id:") == line(&text(simulated), "run_id:"),
        "PTTL" => is_close(real, simulated),
        "CLUSTER" => primaries(real) == primaries(simulated),
        "SCAN" => sorted(real) == sorted(simulated),
        _ => match (real, simulated) {
            (Value::Array(real), Value::Array(simulated)) => {
                let left = left_at(real);
                let mut pairs = real.iter().zip(simulated).enumerate();
                let same =
                    |(at, (real, simulated))| real == simulated || (left == Some(at) && is_close(real, simulated));
                real.len() == simulated.len() && pairs.all(same)
            }
            _ => real == simulated,
        },
    }
}

/// Where a script's reply has the milliseconds that are left.
fn left_at(reply: &[Value]) -> Option<usize> {
    match &reply.get(1).map(text)?[..] {
        "stored" => Some(3),
        "occupied" | "found" | "queued" => Some(4),
        _ => None,
    }
}

fn is_close(real: &Value, simulated: &Value) -> bool {
    const MOST: u64 = 1000;
    match (real, simulated) {
        (Value::Int(real @ 0..), Value::Int(simulated @ 0..)) => real.abs_diff(*simulated) <= MOST,
        _ => real == simulated,
    }
}

/// The ranges of slots with their primaries: a replica is listed once its primary has heard of its offset.
fn primaries(reply: &Value) -> Option<Vec<Vec<Value>>> {
    let Value::Array(ranges) = reply else { return None };
    let range = |range: &Value| match range {
        Value::Array(range) => range.iter().take(3).cloned().collect(),
        _ => Vec::new(),
    };
    Some(ranges.iter().map(range).collect())
}

/// The cursor and the keys of a scan, whose order is the server's own.
fn sorted(reply: &Value) -> Option<(String, Vec<String>)> {
    let Value::Array(reply) = reply else { return None };
    let [cursor, Value::Array(keys)] = &reply[..] else { return None };
    let mut keys: Vec<_> = keys.iter().map(text).collect();
    keys.sort();
    Some((text(cursor), keys))
}

pub(super) fn text(value: &Value) -> String {
    match value {
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => text.clone(),
        _ => String::new(),
    }
}

/// The rest of the line that begins so.
pub(super) fn line(text: &str, start: &str) -> String {
    text.lines().find_map(|line| line.strip_prefix(start)).unwrap_or_default().to_owned()
}
