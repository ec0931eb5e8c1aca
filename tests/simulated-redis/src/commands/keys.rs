//! Keys of any type.

use redis::Value;

use crate::call::Call;
use crate::value::{Reply, SYNTAX, integer};

pub(crate) fn delete(call: &mut Call<'_>) -> Reply {
    let keys: Vec<_> = (1..call.args.len()).map(|at| call.key(at)).collect();
    let deleted = keys.iter().filter(|key| call.state.entry(key).is_some() && call.state.remove(key)).count();
    Ok(integer(deleted))
}

pub(crate) fn exists(call: &mut Call<'_>) -> Reply {
    let keys: Vec<_> = (1..call.args.len()).map(|at| call.key(at)).collect();
    Ok(integer(keys.iter().filter(|key| call.state.entry(key).is_some()).count()))
}

pub(crate) fn type_of(call: &mut Call<'_>) -> Reply {
    let name = call.entry().map_or("none", |entry| entry.type_name());
    Ok(Value::SimpleString(name.to_owned()))
}

pub(crate) fn time_left(call: &mut Call<'_>) -> Reply {
    let now = call.state.now_ms();
    Ok(Value::Int(match call.entry().map(|entry| entry.expires) {
        None => -2,
        Some(None) => -1,
        Some(Some(expires)) => i64::try_from(expires.saturating_sub(now)).unwrap_or(i64::MAX),
    }))
}

/// When a new expiry replaces the present one.
#[derive(Default)]
struct Conditions {
    nx: bool,
    xx: bool,
    gt: bool,
    lt: bool,
}

impl Conditions {
    fn parse(call: &Call<'_>) -> Result<Self, String> {
        let mut conditions = Self::default();
        for at in 3..call.args.len() {
            match &call.word(at)[..] {
                "nx" => conditions.nx = true,
                "xx" => conditions.xx = true,
                "gt" => conditions.gt = true,
                "lt" => conditions.lt = true,
                _ => return Err(format!("ERR Unsupported option {}", String::from_utf8_lossy(call.arg(at)))),
            }
        }
        let Self { nx, xx, gt, lt } = conditions;
        if nx && (xx || gt || lt) {
            return Err("ERR NX and XX, GT or LT options at the same time are not compatible".into());
        }
        if gt && lt {
            return Err("ERR GT and LT options at the same time are not compatible".into());
        }
        Ok(conditions)
    }

    fn hold(&self, present: Option<i64>, new: i64) -> bool {
        let hinders = (self.nx && present.is_some())
            || (self.xx && present.is_none())
            || (self.gt && present.is_none_or(|present| new <= present))
            || (self.lt && present.is_some_and(|present| new >= present));
        !hinders
    }
}

pub(crate) fn expire(call: &mut Call<'_>) -> Reply {
    let conditions = Conditions::parse(call)?;
    let (key, ttl) = (call.key(1), call.integer(2)?);
    let now = i64::try_from(call.state.now_ms()).unwrap_or(i64::MAX);
    let expires = ttl.checked_add(now).ok_or("ERR invalid expire time in 'pexpire' command")?;
    let Some(entry) = call.state.entry(&key) else { return Ok(Value::Int(0)) };
    if !conditions.hold(entry.expires.and_then(|present| i64::try_from(present).ok()), expires) {
        return Ok(Value::Int(0));
    }
    if expires <= now {
        call.state.remove(&key);
    } else if let Some(entry) = call.state.change(&key) {
        entry.expires = u64::try_from(expires).ok();
    }
    Ok(Value::Int(1))
}

pub(crate) fn persist(call: &mut Call<'_>) -> Reply {
    let key = call.key(1);
    let expires = call.state.entry(&key).is_some_and(|entry| entry.expires.is_some());
    if expires && let Some(entry) = call.state.change(&key) {
        entry.expires = None;
    }
    Ok(Value::Int(expires.into()))
}

pub(crate) fn flush_all(call: &mut Call<'_>) -> Reply {
    if call.args.len() > 2 || (call.args.len() == 2 && !["sync", "async"].contains(&&call.word(1)[..])) {
        return Err(SYNTAX.to_owned());
    }
    call.state.flush();
    Ok(Value::Okay)
}

pub(crate) fn size(call: &mut Call<'_>) -> Reply {
    let database = call.database();
    Ok(integer(call.state.keyspace.keys().filter(|key| key.0 == database).count()))
}
