//! What a client says of itself.

use redis::Value;

use crate::call::Call;
use crate::value::{Reply, SYNTAX, bulk, integer, text};

const WRONG_PASSWORD: &str = "WRONGPASS invalid username-password pair or user is disabled.";

/// For commands that run elsewhere.
pub(crate) fn container(_: &mut Call<'_>) -> Reply {
    Err(SYNTAX.to_owned())
}

pub(crate) fn ping(call: &mut Call<'_>) -> Reply {
    match call.args {
        [_] => Ok(Value::SimpleString("PONG".into())),
        [_, word] => Ok(bulk(word)),
        _ => Err("ERR wrong number of arguments for 'ping' command".into()),
    }
}

fn log_in(call: &mut Call<'_>, name: &[u8], password: &[u8]) -> Result<(), String> {
    let name = text(name);
    let user = call.state.users.get(&name).filter(|user| user.enabled);
    let user = user.filter(|user| user.needs_no_password || user.passwords.contains(password));
    if user.is_none() {
        return Err(WRONG_PASSWORD.to_owned());
    }
    if let Some(client) = call.state.clients.get_mut(&call.client) {
        client.user = Some(name);
    }
    Ok(())
}

pub(crate) fn auth(call: &mut Call<'_>) -> Reply {
    match call.args {
        [_, password] => {
            if call.state.users.get("default").is_some_and(|user| user.needs_no_password) {
                return Err("ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?".into());
            }
            log_in(call, b"default", password)?;
        }
        [_, name, password] => log_in(call, name, password)?,
        _ => return Err(SYNTAX.to_owned()),
    }
    Ok(Value::Okay)
}

/// A client speaks RESP3 from the beginning, so that only the login matters.
pub(crate) fn hello(call: &mut Call<'_>) -> Reply {
    if call.args.len() > 1 {
        let protocol = call.integer(1).map_err(|_| "ERR Protocol version is not an integer or out of range")?;
        if !(2..=3).contains(&protocol) {
            return Err("NOPROTO unsupported protocol version".into());
        }
    }
    let mut at = 2;
    while at < call.args.len() {
        match (&call.word(at)[..], call.args.len() - at) {
            ("auth", 3..) => {
                let args = call.args;
                log_in(call, &args[at + 1], &args[at + 2])?;
                at += 3;
            }
            ("setname", 2..) => at += 2,
            _ => return Err(format!("ERR Syntax error in HELLO option '{}'", text(call.arg(at)))),
        }
    }
    if call.state.user(call.client).is_none() {
        let option = if call.state.version.is_old() { "HELLO AUTH" } else { "HELLO <proto> AUTH" };
        return Err(format!(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the {option} <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time"
        ));
    }
    Ok(greeting(call))
}

fn greeting(call: &Call<'_>) -> Value {
    let state = &call.state;
    let mode = if state.cluster.is_some() { "cluster" } else { "standalone" };
    let role = if state.is_replica() { "replica" } else { "master" };
    Value::Map(vec![
        (bulk("server"), bulk(state.version.program())),
        (bulk("version"), bulk(state.version.number())),
        (bulk("proto"), Value::Int(3)),
        (bulk("id"), Value::Int(i64::try_from(call.client.0).unwrap_or_default())),
        (bulk("mode"), bulk(mode)),
        (bulk("role"), bulk(role)),
        (bulk("modules"), Value::Array(Vec::new())),
    ])
}

pub(crate) fn select(call: &mut Call<'_>) -> Reply {
    const DATABASES: u32 = 16;
    let index = call.integer(1)?;
    if call.state.cluster.is_some() && index != 0 {
        return Err("ERR SELECT is not allowed in cluster mode".into());
    }
    let database = u32::try_from(index).ok().filter(|index| *index < DATABASES);
    let database = database.ok_or("ERR DB index is out of range")?;
    if let Some(client) = call.state.clients.get_mut(&call.client) {
        client.database = database;
    }
    Ok(Value::Okay)
}

pub(crate) fn asking(call: &mut Call<'_>) -> Reply {
    if call.state.cluster.is_none() {
        return Err("ERR This instance has cluster support disabled".into());
    }
    if let Some(client) = call.state.clients.get_mut(&call.client) {
        client.asking = true;
    }
    Ok(Value::Okay)
}

pub(crate) fn read_only(call: &mut Call<'_>) -> Reply {
    if call.state.cluster.is_none() && !call.state.version.is_valkey() {
        return Err("ERR This instance has cluster support disabled".into());
    }
    if let Some(client) = call.state.clients.get_mut(&call.client) {
        client.read_only = true;
    }
    Ok(Value::Okay)
}

pub(crate) fn set_info(_: &mut Call<'_>) -> Reply {
    Ok(Value::Okay)
}

pub(crate) fn id(call: &mut Call<'_>) -> Reply {
    Ok(integer(usize::try_from(call.client.0).unwrap_or_default()))
}
