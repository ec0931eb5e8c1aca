//! What a server says of itself.

use redis::{Value, VerbatimFormat};

use crate::call::Call;
use crate::value::{Reply, bulk, integer, text};

pub(crate) fn time(call: &mut Call<'_>) -> Reply {
    let now = call.state.now;
    Ok(Value::Array(vec![bulk((now / 1_000_000).to_string()), bulk((now % 1_000_000).to_string())]))
}

pub(crate) fn info(call: &mut Call<'_>) -> Reply {
    let sections: Vec<_> = (1..call.args.len()).map(|at| call.word(at)).collect();
    let wants = |section: &str| {
        sections.is_empty()
            || sections.iter().any(|word| [section, "all", "default", "everything"].contains(&&word[..]))
    };
    let mut sections = Vec::new();
    if wants("server") {
        sections.push(server_section(call));
    }
    if wants("replication") {
        let role = if call.state.is_replica() { "slave" } else { "master" };
        let offset = call.state.history.end();
        sections.push(format!("# Replication\r\nrole:{role}\r\nmaster_repl_offset:{offset}\r\n"));
    }
    if wants("cluster") {
        sections.push(format!("# Cluster\r\ncluster_enabled:{}\r\n", u8::from(call.state.cluster.is_some())));
    }
    let text = sections.join("\r\n");
    if call.scripted {
        return Ok(bulk(text));
    }
    Ok(Value::VerbatimString { format: VerbatimFormat::Text, text })
}

fn server_section(call: &Call<'_>) -> String {
    let state = &call.state;
    let mode = if state.cluster.is_some() { "cluster" } else { "standalone" };
    let version = if state.version.is_valkey() {
        format!(
            "redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:{}\r\nserver_mode:{mode}",
            state.version.number()
        )
    } else {
        format!("redis_version:{}\r\nredis_mode:{mode}", state.version.number())
    };
    format!("# Server\r\n{version}\r\nrun_id:{}\r\n", state.run_id)
}

pub(crate) fn role(call: &mut Call<'_>) -> Reply {
    let offset = Value::Int(i64::try_from(call.state.history.end()).unwrap_or(i64::MAX));
    Ok(Value::Array(if call.state.is_replica() {
        vec![bulk("slave"), bulk("primary"), Value::Int(0), bulk("connected"), offset]
    } else {
        vec![bulk("master"), offset, Value::Array(Vec::new())]
    }))
}

/// Nothing waits here: the world lets time pass before it calls this.
pub(crate) fn wait(call: &mut Call<'_>) -> Reply {
    _ = (call.integer(1)?, call.integer(2)?);
    if call.state.is_replica() {
        return Err("ERR WAIT cannot be used with replica instances. Please also note that writes to replicas are just local and are not propagated.".into());
    }
    Ok(integer(call.state.confirmations(call.client)))
}

pub(crate) fn flush_scripts(call: &mut Call<'_>) -> Reply {
    if call.args.len() > 3 || (call.args.len() == 3 && !["sync", "async"].contains(&&call.word(2)[..])) {
        return Err("ERR SCRIPT FLUSH only support SYNC|ASYNC option".into());
    }
    call.state.scripts.clear();
    Ok(Value::Okay)
}

pub(crate) fn scripts_exist(call: &mut Call<'_>) -> Reply {
    let exists = |hash: &Vec<u8>| call.state.scripts.contains_key(&text(hash).to_ascii_lowercase());
    Ok(Value::Array(call.args[2..].iter().map(|hash| Value::Int(exists(hash).into())).collect()))
}

pub(crate) fn kill_script(_: &mut Call<'_>) -> Reply {
    Err("NOTBUSY No scripts in execution right now.".into())
}

pub(crate) fn set_user(call: &mut Call<'_>) -> Reply {
    let name = text(call.arg(2));
    let mut user = call.state.users.get(&name).cloned().unwrap_or_default();
    for rule in &call.args[3..] {
        user.apply(rule)?;
    }
    call.state.users.insert(name, user);
    Ok(Value::Okay)
}

pub(crate) fn who_am_i(call: &mut Call<'_>) -> Reply {
    Ok(bulk(call.state.user(call.client).map_or("default", |(name, _)| name)))
}

pub(crate) fn cluster_slots(call: &mut Call<'_>) -> Reply {
    let cluster = call.state.cluster.as_ref().ok_or("ERR This instance has cluster support disabled")?;
    Ok(cluster.slots_reply())
}
