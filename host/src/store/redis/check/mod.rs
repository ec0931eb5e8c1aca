//! The check of servers: what may keep locks from working, or free them too early.
//!
//! - `server`: one server, and how it is asked; `facts`: what it says of itself; `persistence`, `replicas`: what that means for locks that
//!   must outlast it.
//! - `permissions`: what the user may do; `clock`: the server's clock beside this machine's.
//! - `cluster`, `sentinels`: the servers of a topology.

mod clock;
mod cluster;
mod facts;
mod permissions;
mod persistence;
mod replicas;
mod sentinels;
mod server;

use std::sync::Arc;

use redis::{RedisError, cmd};

use self::facts::Facts;
use self::server::Server;
use super::client::{Client, query};
use super::failure;
use super::keys::{self, Keys};
use super::retry::Request;
use super::{Address, Redis};
use crate::random::Random;
use crate::store::measure::{measure, shown};
use crate::store::{CacheError, ErrorKind, Finding, Status};
use crate::time::{elapsed, now};

impl Redis {
    pub(super) async fn findings(&self) -> Vec<Finding> {
        // A connection of its own: it logs in now, and shares no keys or channels with callers that wait.
        let redis = Self { connection: Arc::new(self.connection.with(|_| ())), ..self.clone() };
        let address = redis.connection.address();
        let store = address.to_string();
        let mut findings = redis.check_sentinels(&store).await;
        if !works(&findings) {
            return findings;
        }
        let (time, started) = (cmd("TIME"), now());
        if let Err(error) = redis.connection.execute::<(u64, u64)>(&Request::Command(&time)).await {
            findings.push(unreached(&store, address, &error));
            return findings;
        }
        let over = if address.is_tls() { " over TLS" } else { "" };
        let answers = format!("answers{over} in {}, connecting included", shown(elapsed(started)));
        findings.push(Finding::new(&store, "connection", Status::Ok, answers));
        findings.push(Finding::new(&store, "login", Status::Ok, format!("as the user {}", address.user())));
        if address.is_cluster() {
            findings.extend(redis.check_cluster(&store).await);
        } else {
            findings.extend(redis.check_server(store, None).await);
        }
        findings
    }

    /// All findings of one server: of the primary of a slot, in a cluster.
    async fn check_server(&self, name: String, slot: Option<u16>) -> Vec<Finding> {
        let mut findings = Vec::new();
        let checked = match self.connection.get().await {
            Ok((client, _)) => {
                let server = Server { client: &*client, slot, name: &name, address: self.connection.address() };
                self.check_parts(&server, &mut findings).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = checked {
            findings.push(unreached(&name, self.connection.address(), &self.translate(error)));
        }
        findings
    }

    /// Fails if the server does not answer any more.
    async fn check_parts(&self, server: &Server<'_>, findings: &mut Vec<Finding>) -> Result<(), RedisError> {
        let facts = Facts::read(server).await?;
        findings.push(facts.version(server));
        findings.extend(facts.role(server));
        if works(findings) {
            findings.push(facts.eviction(server));
            findings.push(persistence::finding(&facts, server));
            findings.push(replicas::finding(&facts, server, self.replicas));
            let lock = keys::unused_name(&self.prefix, server.slot, Random::default().u64());
            let keys = self.keys(&lock);
            findings.extend(permissions::check(server, &keys, &self.prefix, self.replicas).await?);
            findings.push(clock::finding(server).await?);
            if works(findings) {
                findings.extend(measure(self, server.name, &lock).await);
                self.clean_up(server.client, &keys).await;
            }
        }
        Ok(())
    }

    /// Deletes the key with which a waiter reports: no other client has this id.
    async fn clean_up(&self, client: &dyn Client, keys: &Keys<'_>) {
        let client_key = keys.client(self.connection.client_id());
        // If this fails, the key expires.
        _ = query::<i64>(client, cmd("DEL").arg(client_key), Some(keys.slot)).await;
    }
}

/// Whether it makes sense to go on. Settings that lose locks do not keep the rest from working.
fn works(findings: &[Finding]) -> bool {
    let stops = |finding: &Finding| finding.status == Status::Failure && finding.subject != facts::EVICTION;
    !findings.iter().any(stops)
}

/// Why there is no answer.
fn unreached(store: &str, address: &Address, error: &CacheError) -> Finding {
    let message = error.to_string();
    if let Some(command) = failure::forbidden_command(&message) {
        return permissions::commands(store, address.user(), &[command]);
    }
    if message.contains(failure::NOT_OFFERED) {
        let remedy =
            "write redis+sentinel://HOST/NAME if this is a sentinel; a proxy must offer all commands of docs/stores.md";
        return Finding::of_error(store, "commands", error).remedy(remedy);
    }
    let is_login = error.kind() == ErrorKind::Denied && ["login", "password"].iter().any(|word| message.contains(word));
    Finding::of_error(store, if is_login { "login" } else { "connection" }, error)
        .or_remedy("see that the server runs at this address, and that no firewall is in between")
}
