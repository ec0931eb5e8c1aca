//! Iteration over all keys.

use redis::Value;

use crate::call::Call;
use crate::glob;
use crate::keyspace::Key;
use crate::number::parse_integer;
use crate::value::{Reply, SYNTAX, bulk};

struct Options {
    pattern: Option<Vec<u8>>,
    count: usize,
    type_name: Option<String>,
}

const TYPES: [&str; 7] = ["string", "list", "set", "zset", "hash", "stream", "module"];

impl Options {
    fn parse(call: &Call<'_>) -> Result<Self, String> {
        let mut options = Self { pattern: None, count: 10, type_name: None };
        let mut at = 2;
        while at < call.args.len() {
            let word = call.word(at);
            if at + 1 == call.args.len() {
                return Err(SYNTAX.to_owned());
            }
            match &word[..] {
                "match" => options.pattern = Some(call.arg(at + 1).to_vec()),
                "count" => {
                    let count = usize::try_from(parse_integer(call.arg(at + 1))?).unwrap_or_default();
                    options.count = Some(count).filter(|count| *count > 0).ok_or(SYNTAX)?;
                }
                "type" => options.type_name = Some(call.word(at + 1)),
                _ => return Err(SYNTAX.to_owned()),
            }
            at += 2;
        }
        let unknown = options.type_name.as_deref().filter(|name| !TYPES.contains(name));
        match unknown {
            Some(_) if call.state.version.is_valkey() => {
                Err(format!("ERR unknown type name '{}'", unknown.unwrap_or_default()))
            }
            _ => Ok(options),
        }
    }

    fn select(&self, call: &mut Call<'_>, key: &Key) -> bool {
        let type_name = call.state.entry(key).map(|entry| entry.type_name());
        type_name.is_some_and(|name| self.type_name.as_deref().is_none_or(|expected| expected == name))
            && self.pattern.as_ref().is_none_or(|pattern| glob::matches(pattern, &key.1))
    }
}

pub(crate) fn scan(call: &mut Call<'_>) -> Reply {
    let cursor = std::str::from_utf8(call.arg(1)).ok().and_then(|cursor| cursor.parse::<u64>().ok());
    let cursor = cursor.ok_or("ERR invalid cursor")?;
    let (options, database) = (Options::parse(call)?, call.database());
    let keys = call.state.keyspace.keys().filter(|key| key.0 == database).cloned();
    let mut keys: Vec<(u64, Key)> = keys.map(|key| (place(&key.1), key)).filter(|(at, _)| *at >= cursor).collect();
    keys.sort();
    // Keys with the same place come in the same step, and a key that stays is seen wherever others come and go.
    let next = keys.get(options.count).map(|(at, _)| *at);
    let end = next.map_or(keys.len(), |next| keys.partition_point(|(at, _)| *at <= next));
    let cursor = keys.get(end).map_or(0, |(at, _)| *at);
    keys.truncate(end);
    let found: Vec<_> = keys.iter().filter(|(_, key)| options.select(call, key)).map(|(_, key)| bulk(&key.1)).collect();
    Ok(Value::Array(vec![bulk(cursor.to_string()), Value::Array(found)]))
}

/// Where a key is in the order of the iteration, which is not the order of the keys.
fn place(key: &[u8]) -> u64 {
    let hash = key.iter().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    u64::from(hash) + 1
}
