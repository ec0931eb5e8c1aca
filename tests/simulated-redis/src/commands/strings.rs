//! Strings.

use redis::Value;

use crate::call::{Call, range};
use crate::keyspace::{Data, Entry};
use crate::value::{Reply, SYNTAX, bulk, nil_or};

pub(crate) fn get(call: &mut Call<'_>) -> Reply {
    let text = call.entry().map(Entry::text).transpose()?;
    Ok(nil_or(text))
}

pub(crate) fn get_range(call: &mut Call<'_>) -> Reply {
    let (first, last) = (call.integer(2)?, call.integer(3)?);
    let text = call.entry().map(Entry::text).transpose()?.unwrap_or_default();
    if first < 0 && last < 0 && first > last {
        return Ok(bulk(""));
    }
    let length = i64::try_from(text.len()).unwrap_or(i64::MAX);
    // Unlike the ranges of lists, this one has an end that is not before the first byte.
    let last = if last < 0 { last.saturating_add(length).max(0) } else { last };
    Ok(bulk(&text[range(text.len(), first, last)]))
}

pub(crate) fn multi_get(call: &mut Call<'_>) -> Reply {
    let keys: Vec<_> = (1..call.args.len()).map(|at| call.key(at)).collect();
    let texts = keys.iter().map(|key| nil_or(call.state.entry(key).and_then(|entry| entry.text().ok())));
    Ok(Value::Array(texts.collect()))
}

#[derive(Default)]
struct SetOptions {
    only_if_absent: bool,
    only_if_present: bool,
    get: bool,
    keep_ttl: bool,
    /// The name of the option, and where its number is.
    expiry: Option<(String, usize)>,
}

impl SetOptions {
    fn parse(call: &Call<'_>) -> Result<Self, String> {
        let (mut options, mut at) = (Self::default(), 3);
        while at < call.args.len() {
            let word = call.word(at);
            let is_timed = options.keep_ttl || options.expiry.is_some();
            match &word[..] {
                "nx" if !options.only_if_present => options.only_if_absent = true,
                "xx" if !options.only_if_absent => options.only_if_present = true,
                "get" => options.get = true,
                "keepttl" if options.expiry.is_none() => options.keep_ttl = true,
                "ex" | "px" | "exat" | "pxat" if !is_timed && at + 1 < call.args.len() => {
                    at += 1;
                    options.expiry = Some((word, at));
                }
                _ => return Err(SYNTAX.to_owned()),
            }
            at += 1;
        }
        Ok(options)
    }

    /// The millisecond at which the key expires.
    fn expires(&self, call: &Call<'_>) -> Result<Option<u64>, String> {
        let Some((unit, at)) = &self.expiry else { return Ok(None) };
        let number = call.integer(*at)?;
        let scale = if unit.starts_with('p') { 1 } else { 1000 };
        let base = if unit.ends_with("at") { 0 } else { i64::try_from(call.state.now_ms()).unwrap_or(i64::MAX) };
        let expires = number.checked_mul(scale).and_then(|time| time.checked_add(base));
        let expires = expires.filter(|_| number > 0).and_then(|time| u64::try_from(time).ok());
        expires.map(Some).ok_or_else(|| "ERR invalid expire time in 'set' command".to_owned())
    }
}

pub(crate) fn set(call: &mut Call<'_>) -> Reply {
    let options = SetOptions::parse(call)?;
    let (key, now, expires) = (call.key(1), call.state.now_ms(), options.expires(call)?);
    let present = call.state.entry(&key);
    let old = if options.get { present.map(|entry| entry.text().map(<[u8]>::to_vec)).transpose()? } else { None };
    let (exists, present_expires) = (present.is_some(), present.and_then(|entry| entry.expires));
    if (options.only_if_absent && exists) || (options.only_if_present && !exists) {
        return Ok(nil_or(old));
    }
    if expires.is_some_and(|expires| expires <= now) {
        call.state.remove(&key);
    } else {
        let expires = if options.keep_ttl { present_expires } else { expires };
        let data = Data::Text(call.arg(2).to_vec());
        call.state.put(key, Entry { data, expires });
    }
    Ok(if options.get { nil_or(old) } else { Value::Okay })
}
