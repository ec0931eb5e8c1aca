//! The cache that the command line names.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use locker_host::{CacheError, Locker, Memory, Quorum, QuorumMember, Redis};

use crate::exit_code::{CliError, Exit};
use crate::output::Report;

pub(crate) fn locker(cache: Option<&str>, prefix: Option<&str>, ca: Option<&Path>, report: Report) -> Result<Locker> {
    match cache {
        None => {
            report.info(
                "note: locks in memory end with this process; share them with --cache redis://HOST or LOCKER_CACHE",
            );
            Ok(Locker::new(Memory::default())?)
        }
        Some("memory") => Ok(Locker::new(Memory::default())?),
        Some(urls) => match &urls_of(urls)[..] {
            [url] => Ok(Locker::new(redis(url, prefix, ca)?)?),
            urls => {
                let member = |url: &String| Ok(Arc::new(redis(url, prefix, ca)?) as Arc<dyn QuorumMember>);
                let members = urls.iter().map(member).collect::<Result<_>>()?;
                Ok(Locker::new(Quorum::new(members).map_err(|error| CliError(Exit::Refused, error.to_string()))?)?)
            }
        },
    }
}

/// Keeps compiled code in the cache folder of the user.
pub(crate) fn use_compilation_cache() {
    let caches = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|folder| folder.is_absolute());
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    if let Some(caches) = caches.or_else(home) {
        locker_host::set_compilation_cache_dir(caches.join("locker"));
    }
}

/// The URLs in a list with commas. A URL may itself list hosts with commas, but only the first of them has a scheme.
fn urls_of(list: &str) -> Vec<String> {
    let mut urls = Vec::<String>::new();
    for part in list.split(',') {
        match urls.last_mut() {
            Some(url) if !part.contains("://") => *url += &format!(",{part}"),
            _ => urls.push(part.to_owned()),
        }
    }
    urls
}

fn redis(url: &str, prefix: Option<&str>, ca: Option<&Path>) -> Result<Redis> {
    let wrong = |error: CacheError| CliError(Exit::Refused, error.to_string());
    let mut redis = Redis::open(url).map_err(wrong)?;
    if let Some(prefix) = prefix {
        redis = redis.prefix(prefix).map_err(wrong)?;
    }
    if let Some(ca) = ca {
        let pem = std::fs::read(ca);
        redis = redis
            .root_certificates(pem.with_context(|| CliError(Exit::Refused, format!("cannot read {}", ca.display())))?);
    }
    Ok(redis)
}
