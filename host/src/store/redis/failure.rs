//! What the errors of Redis mean to a caller.

use redis::{ConnectionAddr, ErrorKind as RedisKind, RedisError, ServerErrorKind};

use super::address::Address;
use crate::store::{CacheError, ErrorKind};

/// Puts an error into its class, with a sentence that names the cause and the way out.
pub(super) fn translate(address: &Address, error: RedisError) -> CacheError {
    if matches!(error.kind(), RedisKind::UnexpectedReturnType | RedisKind::Parse) {
        // The error quotes the answer, and with it perhaps a token.
        return CacheError::new(ErrorKind::Unavailable, format!("{address} answers what Redis would not"));
    }
    explain(address, error, "")
}

/// Adds a hint to what an error means.
fn explain(address: &Address, error: RedisError, hint: &str) -> CacheError {
    let (kind, why) = classify(&error, address.is_cluster());
    let translated = CacheError::new(kind, format!("{address} {}{hint}", redacted(&why, address.password())));
    let said = error.to_string();
    let tells = said.contains(QUOTES) || said != redacted(&said, address.password());
    if tells { translated } else { translated.caused_by(error) }
}

/// The same for an error that came before a request was sent. Waiting does not mend a port at which another program listens.
pub(super) fn translate_unsent(address: &Address, error: RedisError) -> CacheError {
    let is_cut = loses_answer(&error) && error.is_connection_dropped();
    let hint = match (error.kind(), address.first()) {
        (RedisKind::UnexpectedReturnType | RedisKind::Parse, _) => {
            let message = format!("{address} does not speak the protocol of Redis; check host and port");
            return CacheError::new(ErrorKind::Denied, message).unsent();
        }
        (RedisKind::Io, Some(ConnectionAddr::TcpTls { .. })) if error.is_timeout() => {
            "; check that this port speaks TLS"
        }
        (RedisKind::Io, Some(ConnectionAddr::Tcp(..))) if is_cut => "; if it speaks TLS, write rediss for redis",
        _ => "",
    };
    explain(address, error, hint).unsent()
}

/// What is said of a server without a command.
pub(super) const NOT_OFFERED: &str = "does not offer a command that a lock needs";

/// A server that does not know a command quotes what it was given.
const QUOTES: &str = ", with args beginning";

/// The message without secrets that a server may echo: the password, and anything that looks like a part of a token.
fn redacted(text: &str, password: Option<&str>) -> String {
    const HALF: usize = 16;
    let text = match password {
        Some(password) if !password.is_empty() => text.replace(password, "..."),
        _ => text.to_owned(),
    };
    let (mut redacted, mut rest) = (String::new(), &text[..]);
    while !rest.is_empty() {
        let (digits, others) = rest.split_at(rest.find(|char: char| !char.is_ascii_hexdigit()).unwrap_or(rest.len()));
        redacted += if digits.len() < HALF { digits } else { "..." };
        let (between, digits) =
            others.split_at(others.find(|char: char| char.is_ascii_hexdigit()).unwrap_or(others.len()));
        redacted += between;
        rest = digits;
    }
    redacted
}

/// Whether the connection is of no more use: it broke, or it leads to a server that has stepped down.
pub(super) fn breaks_connection(error: &RedisError) -> bool {
    use ServerErrorKind::{MasterDown, ReadOnly};
    error.is_io_error()
        || error.is_unrecoverable_error()
        || matches!(error.kind(), RedisKind::Server(ReadOnly | MasterDown))
}

/// Whether the connection was lost after something may have been sent, so that only the answer is missing.
pub(super) fn loses_answer(error: &RedisError) -> bool {
    error.is_io_error() && !error.is_connection_refusal() && !error.is_timeout()
}

/// Whether a server is about to take over from another, or a slot is on its way from one to another.
pub(super) fn is_passing(error: &RedisError) -> bool {
    use ServerErrorKind::{BusyLoading, MasterDown, ReadOnly};
    let passing = [RedisKind::Server(BusyLoading), RedisKind::Server(MasterDown), RedisKind::Server(ReadOnly)];
    let unknown = [
        RedisKind::ClusterConnectionNotFound,
        RedisKind::MasterNameNotFoundBySentinel,
        RedisKind::NoValidReplicasFoundBySentinel,
    ];
    let kind = error.kind();
    error.is_cluster_error()
        || passing.contains(&kind)
        || unknown.contains(&kind)
        || (error.is_io_error() && !error.is_timeout())
}

/// Whether a server refused the login, or has none.
pub(super) fn refuses_login(error: &RedisError) -> bool {
    let said = said(error);
    error.kind() == RedisKind::AuthenticationFailed
        || ["WRONGPASS", "NOAUTH", "without any password configured"].iter().any(|words| said.contains(words))
}

/// What servers say of commands, keys and channels that a user may not use, or that were renamed away.
const REFUSALS: [&str; 8] = [
    "NOPERM",
    "ACL failure in script",
    "user executing the script can't",
    "No permissions to access a",
    "Unknown Redis command called from script",
    "Unknown command called from script",
    "Invalid command passed to redis.acl_check_cmd",
    "Invalid command passed to server.acl_check_cmd",
];

/// Whether a server refused something to this user.
pub(super) fn is_refusal(said: &str) -> bool {
    REFUSALS.iter().any(|refusal| said.contains(refusal))
}

/// The command that a user may not run, if a server refused that.
pub(super) fn forbidden_command(said: &str) -> Option<&str> {
    let (command, _) = said.split_once("permissions to run the '")?.1.split_once('\'')?;
    Some(command)
}

fn classify(error: &RedisError, cluster: bool) -> (ErrorKind, String) {
    let said = said(error);
    by_words(error, &said).unwrap_or_else(|| by_kind(error, cluster, &said))
}

/// The class of an error by the words of the server.
fn by_words(error: &RedisError, said: &str) -> Option<(ErrorKind, String)> {
    use ErrorKind::{Denied, Invalid, Unavailable};
    let (says, lower) = (|code: &str| error.code() == Some(code) || said.contains(code), said.to_ascii_lowercase());
    Some(if says("LOCKTYPE") {
        (Invalid, "has a value that is not a lock under this name; use another name or prefix".into())
    } else if says("WRONGTYPE") {
        let remedy = "use another prefix, or delete the keys under it that are not locks";
        (Denied, format!("has a foreign value under a key of Locker's own; {remedy}"))
    } else if says("NOAUTH") {
        (Denied, "asks for a login; put it into the URL: redis://USER:PASSWORD@HOST".into())
    } else if says("WRONGPASS") {
        (Denied, "refuses the user name or password; correct the login in the URL".into())
    } else if says("DB index is out of range") {
        (Denied, "does not have this database; name a lower number in the URL".into())
    } else if said.contains("non local key") {
        // A script met a slot that is on its way. It may have written, so it is not repeated here.
        (Unavailable, "moves this lock's slot to another node; try again soon".into())
    } else if says("cluster support disabled") {
        (Denied, "is not a cluster; address it as one server: redis://HOST".into())
    } else if error.code() == Some("DENIED") {
        (Denied, "runs in protected mode; give it a password, and put that into the URL".into())
    } else if says("NOPROTO") {
        (Denied, "does not speak RESP3; use Redis 6.2 or later".into())
    } else if says("without any password configured") || says("no password is set") {
        (Denied, "has no password, or not for this user; leave the login out of the URL".into())
    } else if says("OOM ") {
        (Unavailable, "is out of memory; give it more, or let other keys expire".into())
    } else if lower.contains("unknown command 'evalsha'") {
        (Denied, "runs no scripts, and every step of a lock is one; permit EVALSHA and SCRIPT LOAD".into())
    } else if lower.contains("unknown command") {
        (Denied, format!("{NOT_OFFERED}: {said}"))
    } else if error.code() == Some("NOPERM") || is_refusal(said) {
        (Denied, format!("does not permit this user what a lock needs: {said}"))
    } else {
        return None;
    })
}

/// The class of an error by its kind.
fn by_kind(error: &RedisError, cluster: bool, said: &str) -> (ErrorKind, String) {
    use ErrorKind::{Denied, Unavailable};
    match error.kind() {
        RedisKind::AuthenticationFailed => (Denied, format!("refuses the login: {said}")),
        RedisKind::RESP3NotSupported => (Denied, "is too old; use Redis 6.2 or later".into()),
        RedisKind::InvalidClientConfig => (Denied, format!("cannot be used as configured: {said}")),
        RedisKind::Io if tls_remedy(said).is_some() => {
            let remedy = tls_remedy(said).unwrap_or_default();
            (Denied, format!("cannot be reached over TLS; {remedy}: {said}"))
        }
        RedisKind::Io if error.is_timeout() => (Unavailable, "does not answer in time".into()),
        RedisKind::Io => (Unavailable, format!("cannot be reached: {said}")),
        RedisKind::Server(ServerErrorKind::ReadOnly) => {
            (Unavailable, "is a replica and cannot write; point to the primary".into())
        }
        RedisKind::Server(ServerErrorKind::BusyLoading) => {
            (Unavailable, "is still loading its data; try again soon".into())
        }
        RedisKind::Server(ServerErrorKind::TryAgain | ServerErrorKind::Moved | ServerErrorKind::Ask) if cluster => {
            (Unavailable, "moves this lock's slot to another node; try again soon".into())
        }
        RedisKind::Server(ServerErrorKind::CrossSlot | ServerErrorKind::Moved | ServerErrorKind::Ask) => {
            (Denied, "is part of a cluster; address it as one: redis+cluster://HOST".into())
        }
        _ => (Unavailable, format!("failed: {said}")),
    }
}

/// What to do about a failed TLS handshake.
fn tls_remedy(said: &str) -> Option<&'static str> {
    let remedies = [
        ("CertificateRequired", "the server asks for a client certificate: name it, with --cert FILE and --key FILE"),
        ("HandshakeFailure", "the server may ask for a client certificate: name it, with --cert FILE and --key FILE"),
        (
            "CaUsedAsEndEntity",
            "its certificate signs itself: name it, with --ca FILE; sentinels and clusters need one that an authority has signed",
        ),
        ("NotValidForName", "its certificate is for another host name"),
        ("not valid for name", "its certificate is for another host name"),
        ("Expired", "its certificate has expired, or the clock here is wrong"),
        ("expired", "its certificate has expired, or the clock here is wrong"),
        ("NotValidYet", "its certificate is not valid yet, or the clock here is wrong"),
        ("UnknownIssuer", "its certificate is not trusted here: name its authority, with --ca FILE"),
        ("certificate", "its certificate is not trusted here: name its authority, with --ca FILE"),
    ];
    remedies.into_iter().find(|(words, _)| said.contains(words)).map(|(_, remedy)| remedy)
}

/// The server's or the system's own words.
pub(super) fn said(error: &RedisError) -> String {
    let said = match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        _ => error.to_string(),
    };
    let said = said.split_once(QUOTES).map_or(&said[..], |(said, _)| said);
    // They may be shown on a terminal.
    said.replace(char::is_control, "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An error as a server sends it.
    fn server_error(text: &str) -> RedisError {
        let value = redis::parse_redis_value(format!("-{text}\r\n").as_bytes()).unwrap();
        value.extract_error().unwrap_err()
    }

    /// What Redis 7 and 8 and Valkey 8 and 9 answer to requests that they refuse.
    const ERRORS: [(&str, ErrorKind); 33] = {
        use ErrorKind::{Denied, Invalid, Unavailable};
        [
            ("NOAUTH Authentication required.", Denied),
            ("WRONGPASS invalid username-password pair or user is disabled.", Denied),
            ("ERR AUTH <password> called without any password configured for the default user.", Denied),
            ("ERR Client sent AUTH, but no password is set", Denied),
            ("DENIED Redis is running in protected mode because protected mode is enabled", Denied),
            ("NOPROTO unsupported protocol version", Denied),
            ("NOPERM this user has no permissions to run the 'evalsha' command", Denied),
            ("NOPERM User u has no permissions to run the 'evalsha' command", Denied),
            ("NOPERM No permissions to access a key", Denied),
            ("NOPERM this user has no permissions to access one of the keys used as arguments", Denied),
            ("NOPERM this user has no permissions to access one of the channels used as arguments", Denied),
            ("ERR ACL failure in script: User u has no permissions to run the 'publish' command", Denied),
            (
                "ERR The user executing the script can't run this command or subcommand script: f, on @user_script:1.",
                Denied,
            ),
            ("ERR can't run the script: Unknown Redis command called from script script: f", Denied),
            ("ERR unknown command 'EVALSHA', with args beginning with: ", Denied),
            ("ERR unknown command 'hello', with args beginning with: '3' ", Denied),
            ("ERR DB index is out of range", Denied),
            ("ERR This instance has cluster support disabled", Denied),
            ("ERR Script attempted to access a non local key in a cluster node script: f", Unavailable),
            ("CROSSSLOT Keys in request don't hash to the same slot", Denied),
            ("MOVED 866 127.0.0.1:7001", Denied),
            ("WRONGTYPE Operation against a key holding the wrong kind of value", Denied),
            ("LOCKTYPE Operation against a key holding the wrong kind of value", Invalid),
            ("READONLY You can't write against a read only replica.", Unavailable),
            ("LOADING Redis is loading the dataset in memory", Unavailable),
            ("BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.", Unavailable),
            ("OOM command not allowed when used memory > 'maxmemory'.", Unavailable),
            (
                "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
                Unavailable,
            ),
            ("NOREPLICAS Not enough good replicas to write.", Unavailable),
            ("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", Unavailable),
            ("CLUSTERDOWN Hash slot not served", Unavailable),
            ("UNKILLABLE Sorry the script already executed write commands against the dataset.", Unavailable),
            ("ERR max number of clients reached", Unavailable),
        ]
    };

    #[test]
    fn each_error_of_a_server_has_its_class() {
        for (text, kind) in ERRORS {
            assert_eq!(classify(&server_error(text), false).0, kind, "{text}");
        }
        for text in ["MOVED 866 127.0.0.1:7001", "ASK 866 127.0.0.1:7001", "TRYAGAIN Multiple keys request"] {
            assert_eq!(classify(&server_error(text), true).0, ErrorKind::Unavailable, "{text}");
        }
    }

    #[test]
    fn what_a_server_was_told_is_not_repeated() {
        for (said, shown) in [
            ("ERR max number of clients reached", "ERR max number of clients reached"),
            ("ERR me:0123456789abcdef0123456789abcdef, deadbeef", "ERR me:..., deadbeef"),
            ("0123456789abcdef0", "..."),
            ("HELLO 3 AUTH user secret", "HELLO 3 AUTH user ..."),
            ("", ""),
        ] {
            assert_eq!(redacted(said, Some("secret")), shown);
        }
        assert_eq!(redacted("ERR", Some("")), "ERR");
    }
}
