//! What a server says of itself.

use std::collections::BTreeMap;

use redis::{RedisResult, Value, cmd};

use super::server::Server;
use crate::store::{Finding, Status};

pub(super) const EVICTION: &str = "eviction";
const OLDEST: (u64, u64) = (6, 2);

/// What a server says of itself, as far as the user may read it.
pub(super) struct Facts {
    info: Option<String>,
    settings: BTreeMap<String, String>,
    /// The answer to `HELLO`, which every user may read.
    hello: BTreeMap<String, String>,
}

impl Facts {
    pub(super) async fn read(server: &Server<'_>) -> RedisResult<Self> {
        let info = server.read(&cmd("INFO")).await?;
        let mut settings = BTreeMap::new();
        for name in ["maxmemory-policy", "save", "appendfsync"] {
            let setting: Option<BTreeMap<String, String>> = server.read(cmd("CONFIG").arg("GET").arg(name)).await?;
            settings.extend(setting.unwrap_or_default());
        }
        let hello: Option<BTreeMap<String, Value>> = server.read(&cmd("HELLO")).await?;
        let text = |(name, value)| Some((name, redis::from_redis_value::<String>(value).ok()?));
        Ok(Self { info, settings, hello: hello.unwrap_or_default().into_iter().filter_map(text).collect() })
    }

    /// A field of `INFO`.
    pub(super) fn info(&self, name: &str) -> Option<&str> {
        let mut lines = self.info.as_deref()?.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
    }

    /// A setting.
    pub(super) fn setting(&self, name: &str) -> Option<&str> {
        self.settings.get(name).map(String::as_str)
    }

    fn hello(&self, name: &str) -> Option<&str> {
        self.hello.get(name).map(String::as_str)
    }

    pub(super) fn version(&self, server: &Server<'_>) -> Finding {
        let Some(version) = self.info("redis_version").or_else(|| self.hello("version")) else {
            return server.unknown("version", "its version is", "+info");
        };
        let found = match self.info("valkey_version") {
            Some(valkey) => format!("Valkey {valkey}"),
            None => format!("Redis {version}"),
        };
        let mut numbers = version.split('.').map(str::parse::<u64>);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(major)), Some(Ok(minor))) if (major, minor) < OLDEST => {
                server.finding("version", Status::Failure, found).remedy("update it to Redis 6.2 or later, or Valkey")
            }
            _ if self.info("dragonfly_version").is_some() => {
                let found = "Dragonfly, on which Locker is not tested";
                server.finding("version", Status::Warning, found).remedy("use Redis or Valkey")
            }
            _ => server.finding("version", Status::Ok, found),
        }
    }

    /// Whether this is the kind of server that the URL says, and takes writes.
    pub(super) fn role(&self, server: &Server<'_>) -> Vec<Finding> {
        let mode = self.info("redis_mode").or_else(|| self.hello("mode"));
        let role = self.info("role").or_else(|| self.hello("role"));
        let failed = |found: &str, remedy: String| vec![server.finding("role", Status::Failure, found).remedy(remedy)];
        match (mode, role) {
            (Some("cluster"), _) if !server.address.is_cluster() => {
                failed("is part of a cluster", "address it as one: redis+cluster://HOST".to_owned())
            }
            (_, Some("slave" | "replica")) => {
                let primary = self.info("master_host").zip(self.info("master_port"));
                let primary = primary.map_or_else(String::new, |(host, port)| format!(", at {host}:{port}"));
                failed("is a replica, and cannot write", format!("point to the primary{primary}"))
            }
            (_, Some("master")) => vec![server.finding("role", Status::Ok, "is a primary")],
            _ => Vec::new(),
        }
    }

    /// Whether the server may evict locks.
    pub(super) fn eviction(&self, server: &Server<'_>) -> Finding {
        let Some(policy) = self.info("maxmemory_policy").or_else(|| self.setting("maxmemory-policy")) else {
            return server.unknown(EVICTION, "maxmemory-policy is", "+info");
        };
        let found = format!("maxmemory-policy is {policy}");
        if policy == "noeviction" {
            return server.finding(EVICTION, Status::Ok, found);
        }
        let (status, consequence) = match self.info("maxmemory") {
            Some("0") => (Status::Warning, "with a limit of its memory, the server would free locks that are held"),
            _ => (Status::Failure, "the server frees locks that are held when its memory is full"),
        };
        let remedy = "CONFIG SET maxmemory-policy noeviction, and the same in its configuration";
        server.finding(EVICTION, status, format!("{found}: {consequence}")).remedy(remedy)
    }
}
