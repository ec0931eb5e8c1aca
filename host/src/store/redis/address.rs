//! Where the servers are, as a URL says it.

use std::fmt;

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion};

/// One server, or several that stand in for each other.
pub(super) enum Address {
    One(ConnectionInfo),
    /// Nodes of a cluster; the others are learnt from them.
    Cluster(Vec<ConnectionInfo>),
    /// Sentinels, and the name under which they know the primary.
    Sentinel {
        sentinels: Vec<ConnectionInfo>,
        primary: String,
    },
}

/// Takes `?wait-replicas=N` off the end of a URL.
pub(super) fn split_replicas(url: &str) -> (&str, Result<u32, String>) {
    let Some((url, query)) = url.rsplit_once("wait-replicas=") else { return (url, Ok(0)) };
    let replicas =
        query.parse().map_err(|_| "wait-replicas is the number of replicas, at the end of the URL".to_owned());
    (url.trim_end_matches(['?', '&']), replicas)
}

impl Address {
    /// Reads `redis[s]://`, `redis[s]+cluster://` with several hosts, or `redis[s]+sentinel://` with several hosts and
    /// the primary's name as the first part of the path. The error never repeats the URL, which may hold a password.
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        let (scheme, rest) = url.split_once("://").ok_or("it has no scheme")?;
        let (scheme, topology) = scheme.split_once('+').unwrap_or((scheme, ""));
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        let nodes = |path: &str| nodes(scheme, hosts, path);
        match topology {
            "" | "unix" => Ok(Self::One(info(url)?)),
            "cluster" => Ok(Self::Cluster(nodes(path)?)),
            "sentinel" => {
                let (primary, database) = path.split_once('/').unwrap_or((path, ""));
                if primary.is_empty() {
                    return Err("it lacks the primary's name: redis+sentinel://HOST,HOST/NAME".to_owned());
                }
                // Nor do sentinels allow any other. What else stands there may be the rest of a password with a `/` in it.
                if !primary.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte)) {
                    return Err("a primary's name is made of letters, digits, '.', '-' and '_'; in a password, write %2F for a slash".to_owned());
                }
                Ok(Self::Sentinel { sentinels: nodes(database)?, primary: primary.to_owned() })
            }
            _ => Err("its scheme is none of redis, redis+unix, redis+cluster and redis+sentinel, or one of these with rediss".to_owned()),
        }
    }

    /// The password for the servers, if there is one.
    pub(super) fn password(&self) -> Option<&str> {
        let info = match self {
            Self::One(info) => Some(info),
            Self::Cluster(nodes) | Self::Sentinel { sentinels: nodes, .. } => nodes.first(),
        };
        info?.redis_settings().password()
    }

    pub(super) fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }

    /// Whether another server takes over when one is gone, so that waiting for that makes sense.
    pub(super) fn is_redundant(&self) -> bool {
        !matches!(self, Self::One(_))
    }
}

fn nodes(scheme: &str, hosts: &str, path: &str) -> Result<Vec<ConnectionInfo>, String> {
    let (login, hosts) = hosts.rsplit_once('@').map_or(("", hosts), |(login, hosts)| (login, hosts));
    let at = if login.is_empty() { "" } else { "@" };
    hosts.split(',').map(|host| info(&format!("{scheme}://{login}{at}{host}/{path}"))).collect()
}

fn info(url: &str) -> Result<ConnectionInfo, String> {
    let info = url.into_connection_info().map_err(|error| why(&error))?;
    // RESP3 carries wake-ups on the connection that also carries commands.
    // The client's name is not needed, and would require one more permission.
    let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3).set_skip_set_lib_name();
    Ok(info.set_redis_settings(settings))
}

/// What is wrong with a URL, without the part of it that the error quotes at its end.
fn why(error: &redis::RedisError) -> String {
    let said = error.to_string();
    said.split_once(" - ").map_or("it is none", |(why, _)| why).to_owned()
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list =
            |nodes: &[ConnectionInfo]| nodes.iter().map(|node| node.addr().to_string()).collect::<Vec<_>>().join(",");
        match self {
            Self::One(info) => match info.addr() {
                ConnectionAddr::Unix(path) => write!(f, "Redis at {}", path.display()),
                address => write!(f, "Redis at {address}"),
            },
            Self::Cluster(nodes) => write!(f, "the Redis cluster at {}", list(nodes)),
            Self::Sentinel { sentinels, primary } => {
                write!(f, "Redis {primary:?} by the sentinels at {}", list(sentinels))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_tells_where_and_not_with_which_password() {
        for (url, told) in [
            ("redis://user:secret@db:7000/3", "Redis at db:7000"),
            ("rediss://:secret@db", "Redis at db:6379"),
            ("redis+unix:///run/redis.sock", "Redis at /run/redis.sock"),
            ("redis+cluster://u:secret@a:1,b:2", "the Redis cluster at a:1,b:2"),
            ("redis+sentinel://u:s@cret@a:1,b:2/main/0", "Redis \"main\" by the sentinels at a:1,b:2"),
        ] {
            assert_eq!(Address::parse(url).unwrap().to_string(), told);
        }
    }

    #[test]
    fn the_number_of_replicas_comes_last() {
        assert_eq!(split_replicas("redis://a/3"), ("redis://a/3", Ok(0)));
        assert_eq!(split_replicas("redis://a/3?wait-replicas=2"), ("redis://a/3", Ok(2)));
        assert!(split_replicas("redis://a?wait-replicas=many").1.is_err());
    }

    #[test]
    fn what_is_no_address_is_refused_without_being_repeated() {
        for url in [
            "",
            "secret",
            "http://secret",
            "redis://secret:x:y",
            "redis+ring://secret",
            "redis+secret://host",
            "user:pass+secret@host://",
            "redis+sentinel://secret",
            "redis+cluster://",
            "redis://host?protocol=secret",
            "redis://host/secret",
            "redis+sentinel://user:1/secret@host/main",
        ] {
            let error = Address::parse(url).err().unwrap_or_else(|| panic!("{url}"));
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
