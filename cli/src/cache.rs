//! The cache that the command line names.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use locker_host::{CacheError, Locker, Memory, Quorum, QuorumMember, Redis};

use crate::exit_code::{CliError, Exit};

/// How the command line names a store.
pub(crate) struct Store<'a> {
    pub(crate) cache: Option<&'a str>,
    pub(crate) prefix: Option<&'a str>,
    pub(crate) ca: Option<&'a Path>,
    pub(crate) certificate: Option<(&'a Path, &'a Path)>,
    pub(crate) timeout: Option<Duration>,
}

impl Store<'_> {
    pub(crate) fn locker(&self) -> Result<Locker> {
        match self.cache {
            None => bail!(CliError(
                Exit::Refused,
                "no cache is named, so nothing would be locked: name one with --cache URL or LOCKER_CACHE; --cache memory \
                 keeps locks in this process only"
                    .to_owned()
            )),
            Some("memory") => Ok(Locker::new(Memory::default())?),
            Some(urls) => match &urls_of(urls)[..] {
                [url] => Ok(Locker::new(self.redis(url)?)?),
                urls => {
                    let member = |url: &String| Ok(Arc::new(self.redis(url)?) as Arc<dyn QuorumMember>);
                    let members = urls.iter().map(member).collect::<Result<_>>()?;
                    let mut quorum = Quorum::new(members).map_err(refused)?;
                    if let Some(timeout) = self.timeout {
                        quorum = quorum.timeout(timeout);
                    }
                    Ok(Locker::new(quorum)?)
                }
            },
        }
    }

    fn redis(&self, url: &str) -> Result<Redis> {
        let mut redis = Redis::open(url).map_err(refused)?;
        if let Some(prefix) = self.prefix {
            redis = redis.prefix(prefix).map_err(refused)?;
        }
        if let Some(ca) = self.ca {
            redis = redis.root_certificates(read(ca)?);
        }
        if let Some((certificate, key)) = self.certificate {
            redis = redis.client_certificate(read(certificate)?, read(key)?);
        }
        Ok(match self.timeout {
            Some(timeout) => redis.timeout(timeout),
            None => redis,
        })
    }
}

fn refused(error: CacheError) -> CliError {
    CliError(Exit::Refused, error.to_string())
}

fn read(file: &Path) -> Result<Vec<u8>> {
    std::fs::read(file).with_context(|| CliError(Exit::Refused, format!("cannot read {}", file.display())))
}

/// Keeps compiled code in the cache folder of the user. A home that does not exist, as system users have it, must not be made.
pub(crate) fn use_compilation_cache() {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|folder| folder.is_absolute());
    let home = || absolute("HOME").filter(|home| home.is_dir()).map(|home| home.join(".cache"));
    if let Some(caches) = absolute("XDG_CACHE_HOME").or_else(home) {
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
