//! What the user may do. Each command that scripts and connections need is tried on keys that no caller uses, in a form that writes nothing.

use std::collections::BTreeSet;

use redis::{Cmd, RedisResult, cmd};

use super::super::GET;
use super::super::failure;
use super::super::keys::{Keys, pattern};
use super::server::Server;
use crate::random::Random;
use crate::store::{CacheError, Finding, Status};

/// A command as rules of users name it, and a request that tries it.
type Probe = (&'static str, Cmd);

/// What the user lacks.
#[derive(Default)]
struct Lacks {
    commands: BTreeSet<&'static str>,
    scripts: BTreeSet<&'static str>,
    keys: bool,
    channels: bool,
    /// What the server does not have, or has under another name.
    unknown: BTreeSet<&'static str>,
    /// Why it takes no writes, if it is not for a lack of permission.
    refusal: Option<String>,
}

pub(super) async fn check(
    server: &Server<'_>,
    keys: &Keys<'_>,
    prefix: &str,
    replicas: u32,
) -> RedisResult<Vec<Finding>> {
    let mut lacks = Lacks::default();
    let channel = keys.channel(&format!("{:016x}", Random::default().u64()));
    for (name, request) in probes(keys, &channel, replicas) {
        let tried = server.ask::<redis::Value>(&request).await.map(|_| ());
        lacks.note(server, name, tried)?;
    }
    lacks.note(server, "subscribe", server.client.subscribe(&channel).await)?;
    lacks.note(server, "unsubscribe", server.client.unsubscribe(&channel).await)?;
    Ok(lacks.findings(server, prefix))
}

/// All of them change nothing, since the keys do not exist.
fn probes(keys: &Keys<'_>, channel: &str, replicas: u32) -> Vec<Probe> {
    let (lock, queue, unused) = (&keys.lock[..], &keys.queue[..], "locker-check");
    let (fence, grace, withdrawn, client) =
        (&keys.fence()[..], &keys.grace()[..], &keys.withdrawn(unused)[..], &keys.client(unused)[..]);
    let mut probes = vec![
        ("ping", request(&["PING"])),
        ("time", request(&["TIME"])),
        ("script|load", request(&["SCRIPT", "LOAD", GET.code])),
        ("evalsha", request(&["EVALSHA", GET.hash(), "1", lock])),
        ("exists", request(&["EXISTS", lock, queue, withdrawn])),
        ("getrange", request(&["GETRANGE", lock, "0", "0"])),
        ("mget", request(&["MGET", lock, withdrawn])),
        ("get", request(&["GET", fence])),
        ("pttl", request(&["PTTL", lock])),
        ("pexpire", request(&["PEXPIRE", lock, "1000"])),
        ("zadd", request(&["ZADD", queue, "XX", "0", unused])),
        ("zrange", request(&["ZRANGE", queue, "0", "0"])),
        ("zrank", request(&["ZRANK", queue, unused])),
        ("zscore", request(&["ZSCORE", queue, unused])),
        ("zrem", request(&["ZREM", queue, unused])),
        ("publish", request(&["PUBLISH", channel, ""])),
        ("pubsub|numsub", request(&["PUBSUB", "NUMSUB", channel])),
    ];
    for key in [lock, grace, withdrawn, client] {
        probes.push(("set", request(&["SET", key, "", "XX", "PX", "1000"])));
        probes.push(("del", request(&["DEL", key])));
    }
    if replicas > 0 {
        probes.push(("wait", request(&["WAIT", "0", "0"])));
    }
    probes
}

fn request(words: &[&str]) -> Cmd {
    let (command, arguments) = words.split_first().unwrap_or((&"", &[]));
    let mut request = cmd(command);
    request.arg(arguments);
    request
}

impl Lacks {
    /// Fails if the server does not answer any more.
    fn note(&mut self, server: &Server<'_>, name: &'static str, tried: RedisResult<()>) -> RedisResult<()> {
        let Err(error) = tried else { return Ok(()) };
        if error.is_io_error() {
            return Err(error);
        }
        let said = failure::said(&error);
        let commands = if matches!(name, "evalsha" | "script|load") { &mut self.scripts } else { &mut self.commands };
        if said.to_ascii_lowercase().contains("unknown command") {
            self.unknown.insert(name);
        } else if !failure::is_refusal(&said) {
            let error: CacheError = failure::translate(server.address, error);
            self.refusal.get_or_insert(error.to_string());
        } else if failure::forbidden_command(&said).is_some() {
            commands.insert(name);
        } else if said.contains("channel") {
            self.channels = true;
        } else {
            self.keys = true;
        }
        Ok(())
    }

    fn findings(self, server: &Server<'_>, prefix: &str) -> Vec<Finding> {
        let (user, mut findings) = (server.address.user(), Vec::new());
        let failure =
            |subject, found: String, remedy: String| server.finding(subject, Status::Failure, found).remedy(remedy);
        if !self.scripts.is_empty() {
            let found = format!("the user {user} may run no scripts, and every step of a lock is one");
            findings.push(failure("scripts", found, permit(user, self.scripts)));
        }
        if !self.commands.is_empty() {
            let names: Vec<_> = self.commands.into_iter().collect();
            findings.push(commands(server.name, user, &names));
        }
        if !self.unknown.is_empty() {
            let names = self.unknown.into_iter().map(str::to_ascii_uppercase).collect::<Vec<_>>().join(", ");
            let remedy = "undo rename-command, or use a server that has them".to_owned();
            findings.push(failure("commands", format!("the server does not offer {names}"), remedy));
        }
        let pattern = pattern(prefix);
        if self.keys {
            let found = format!("the user {user} may not use all keys that begin with {prefix}");
            findings.push(failure("keys", found, format!("ACL SETUSER {user} ~{pattern}")));
        }
        if self.channels {
            let found = format!("the user {user} may not use all channels that begin with {prefix}");
            findings.push(failure("channels", found, format!("ACL SETUSER {user} &{pattern}")));
        }
        if let Some(message) = self.refusal {
            let message = message.strip_prefix(&server.address.to_string()).unwrap_or(&message);
            findings.push(
                Finding::failed(server.name, "writes", message.trim_start())
                    .or_remedy("see the settings and the log of the server"),
            );
        }
        if findings.is_empty() {
            findings.push(server.finding(
                "permissions",
                Status::Ok,
                format!("the user {user} may do all that a lock needs"),
            ));
        }
        findings
    }
}

/// What the user lacks, if these are commands.
pub(super) fn commands(store: &str, user: &str, names: &[&str]) -> Finding {
    let listed = names.iter().map(|name| name.to_ascii_uppercase().replace('|', " ")).collect::<Vec<_>>().join(", ");
    Finding::new(store, "commands", Status::Failure, format!("the user {user} may not run {listed}"))
        .remedy(permit(user, names.iter().copied()))
}

/// The rule that permits these commands.
fn permit<'a>(user: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().fold(format!("ACL SETUSER {user}"), |rule, name| rule + " +" + name)
}
