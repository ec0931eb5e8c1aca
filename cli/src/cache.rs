//! The cache that the command line names.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use locker_host::{Cache, CacheError, ErrorKind, Local, Locker, Memory, Quorum, QuorumMember, Redis};

use crate::exit_code::{CliError, Exit};

/// How the command line names a store.
pub(crate) struct Store<'a> {
    pub(crate) cache: Option<&'a str>,
    pub(crate) prefix: Option<&'a str>,
    pub(crate) ca: Option<&'a Path>,
    pub(crate) certificate: Option<(&'a Path, &'a Path)>,
    pub(crate) timeout: Option<Duration>,
}

/// A store, opened.
pub(crate) enum Opened {
    Local(Local),
    Memory(Memory),
    Redis(Redis),
    Quorum(Quorum),
}

impl Opened {
    fn locker(self) -> Result<Locker> {
        Ok(match self {
            Self::Local(local) => Locker::new(local),
            Self::Memory(memory) => Locker::new(memory),
            Self::Redis(redis) => Locker::new(redis),
            Self::Quorum(quorum) => Locker::new(quorum),
        }?)
    }

    /// The names of all locks, without their holders.
    pub(crate) async fn keys(&self) -> Result<Vec<String>, CacheError> {
        match self {
            Self::Local(local) => local.keys().await,
            Self::Memory(memory) => memory.keys().await,
            Self::Redis(redis) => redis.keys().await,
            Self::Quorum(quorum) => quorum.keys().await,
        }
    }
}

impl Store<'_> {
    pub(crate) fn locker(&self) -> Result<Locker> {
        self.open()?.locker()
    }

    /// Whether opening it creates nothing.
    pub(crate) fn exists(&self) -> bool {
        match self.cache {
            None | Some("local") => Local::exists(Local::default_path()),
            Some(cache) => cache.strip_prefix("local:").is_none_or(Local::exists),
        }
    }

    pub(crate) fn open(&self) -> Result<Opened> {
        match self.cache {
            None | Some("local") => self.local(Local::open_default().map_err(|error| refused(error).into())),
            Some(local) if local.starts_with("local:") => self.local(open_local(&local["local:".len()..])),
            Some("memory") => Ok(Opened::Memory(Memory::default())),
            Some(urls) => match &urls_of(urls)[..] {
                [url] => Ok(Opened::Redis(self.redis(url)?)),
                urls => {
                    let member = |url: &String| Ok(Arc::new(self.redis(url)?) as Arc<dyn QuorumMember>);
                    let members = urls.iter().map(member).collect::<Result<_>>()?;
                    let quorum = Quorum::new(members).map_err(refused)?;
                    Ok(Opened::Quorum(match self.timeout {
                        Some(timeout) => quorum.timeout(timeout),
                        None => quorum,
                    }))
                }
            },
        }
    }

    fn local(&self, local: Result<Local>) -> Result<Opened> {
        if self.prefix.is_some() {
            bail!(CliError(
                Exit::Refused,
                "--prefix is for servers that others use too; locks apart from these need a folder of their own: --cache local:/PATH"
                    .to_owned()
            ));
        }
        let local = local?;
        Ok(Opened::Local(match self.timeout {
            Some(timeout) => local.timeout(timeout),
            None => local,
        }))
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

/// The store in a folder. A relative path would name another one in each directory.
fn open_local(path: &str) -> Result<Local> {
    if !Path::new(path).is_absolute() {
        bail!(CliError(Exit::Refused, format!("local:{path} has no absolute path; write local:/PATH, or local alone")));
    }
    Ok(Local::open(path).map_err(refused)?)
}

fn refused(error: CacheError) -> CliError {
    let exit = if error.kind() == ErrorKind::Unavailable { Exit::Unavailable } else { Exit::Refused };
    CliError(exit, error.to_string())
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
