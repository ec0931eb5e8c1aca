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

/// The options at the end of a URL that are Locker's own.
#[derive(Default)]
pub(super) struct Options {
    pub(super) wait_replicas: u32,
    /// The login for sentinels, if it differs from the one for the servers.
    pub(super) sentinel_user: Option<String>,
    pub(super) sentinel_password: Option<String>,
}

const WAIT_REPLICAS: &str = "wait-replicas";
const SENTINEL_USER: &str = "sentinel-user";
const SENTINEL_PASSWORD: &str = "sentinel-password";

/// Takes Locker's own options off a URL. An option that is not known is refused, since a lock elsewhere would exclude no caller.
pub(super) fn split_options(url: &str) -> Result<(String, Options), String> {
    let Some(at) = url.find('?') else {
        return check_fragment(url).map(|()| (url.to_owned(), Options::default()));
    };
    if url[at..].contains('@') {
        return Err("in a password, write %3F for '?' and %40 for '@'".to_owned());
    }
    check_fragment(url)?;
    let query = &url[at + 1..];
    let (mut options, mut rest) = (Options::default(), Vec::new());
    let known: &[&str] = match (url.starts_with("redis+unix:"), url.contains("+sentinel:")) {
        (true, _) => &[WAIT_REPLICAS, "db", "user", "pass"],
        (_, true) => &[WAIT_REPLICAS, SENTINEL_USER, SENTINEL_PASSWORD],
        _ => &[WAIT_REPLICAS],
    };
    for option in query.split('&').filter(|option| !option.is_empty()) {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        match name {
            _ if !known.contains(&name) => return Err(unknown(name, known)),
            WAIT_REPLICAS => {
                let replicas = value.parse().map_err(|_| "wait-replicas is a number of replicas".to_owned());
                options.wait_replicas = replicas?;
            }
            SENTINEL_USER => options.sentinel_user = Some(decoded(value)),
            SENTINEL_PASSWORD => options.sentinel_password = Some(decoded(value)),
            _ => rest.push(option),
        }
    }
    let mut url = url[..at].to_owned();
    if !rest.is_empty() {
        url += &format!("?{}", rest.join("&"));
    }
    Ok((url, options))
}

/// A URL of Redis has no fragment. `#insecure` is one that other clients know.
fn check_fragment(url: &str) -> Result<(), String> {
    let after_login = url.rfind('@').map_or(0, |at| at + 1);
    match url[after_login..].split_once('#') {
        Some((_, "insecure")) => {
            Err("#insecure is not supported: name the server's certificate instead, with --ca FILE".to_owned())
        }
        Some(_) => Err("the part after '#' is not known".to_owned()),
        None => Ok(()),
    }
}

/// Names the option, unless it may be a part of a password.
fn unknown(name: &str, known: &[&str]) -> String {
    let is_word = name.len() <= 32 && name.chars().all(|char| char.is_ascii_alphabetic() || "-_".contains(char));
    let named = if is_word { format!("the option {name:?}") } else { "an option".to_owned() };
    let remedy = match name {
        "db" | "database" => "; put the database into the path: redis://HOST/2",
        "user" | "username" | "pass" | "password" => "; put the login before the host: redis://USER:PASSWORD@HOST",
        _ => "",
    };
    format!("{named} is not known: the options here are {}{remedy}", known.join(", "))
}

/// A value with `%XX` for its special characters, as in a login.
fn decoded(value: &str) -> String {
    percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned()
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
            "cluster" if !matches!(path, "" | "0") => Err("a cluster has database 0 only: name none".to_owned()),
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

    fn info(&self) -> Option<&ConnectionInfo> {
        match self {
            Self::One(info) => Some(info),
            Self::Cluster(nodes) | Self::Sentinel { sentinels: nodes, .. } => nodes.first(),
        }
    }

    /// The first of the servers that the URL names.
    pub(super) fn first(&self) -> Option<&ConnectionAddr> {
        self.info().map(ConnectionInfo::addr)
    }

    /// The password for the servers, if there is one.
    pub(super) fn password(&self) -> Option<&str> {
        self.info()?.redis_settings().password()
    }

    /// The user. One without a password may be a misplaced password, and does not log in.
    pub(super) fn user(&self) -> &str {
        let settings = self.info().map(ConnectionInfo::redis_settings).filter(|settings| settings.password().is_some());
        settings.and_then(|settings| settings.username()).unwrap_or("default")
    }

    pub(super) fn is_tls(&self) -> bool {
        matches!(self.first(), Some(ConnectionAddr::TcpTls { .. }))
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
        let replicas = |url| split_options(url).map(|(url, options)| (url, options.wait_replicas));
        assert_eq!(replicas("redis://a/3"), Ok(("redis://a/3".to_owned(), 0)));
        assert_eq!(replicas("redis://a/3?wait-replicas=2"), Ok(("redis://a/3".to_owned(), 2)));
        assert!(replicas("redis://a?wait-replicas=many").is_err());
    }

    #[test]
    fn options_that_are_not_known_are_refused_by_name() {
        for (url, name) in [
            ("redis://a?wait_replicas=1", "wait_replicas"),
            ("redis://a?WAIT-REPLICAS=1", "WAIT-REPLICAS"),
            ("redis://a?wait-replica=1", "wait-replica"),
            ("redis://a?db=2", "redis://HOST/2"),
            ("redis://a?password=p", "redis://USER:PASSWORD@HOST"),
            ("redis+unix:///run/a?wait-replicas=1&sentinel-user=u", "sentinel-user"),
            ("redis://a?wait-replicas=1&hunter2", "an option"),
            ("redis://:pa?ss@a", "%3F"),
            ("redis://a/1#secure", "'#'"),
            ("rediss://a/1?wait-replicas=1#insecure", "--ca FILE"),
        ] {
            let why = split_options(url).map(|(url, _)| url).unwrap_err();
            assert!(why.contains(name), "{url}: {why}");
        }
        assert_eq!(split_options("redis+unix:///run/a?db=2").unwrap().0, "redis+unix:///run/a?db=2");
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
