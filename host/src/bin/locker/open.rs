//! The cache that the command line names.

use std::path::Path;

use anyhow::{Context, Result};
use locker_host::{Error, Locker, Memory, Redis};

use crate::exit::Misconfigured;
use crate::report;

pub(crate) fn locker(cache: Option<&str>, prefix: Option<&str>, ca: Option<&Path>) -> Result<Locker> {
    match cache {
        None => {
            report::words(
                "note: locks in memory end with this process; share them with --cache redis://HOST or LOCKER_CACHE",
            );
            Ok(Locker::new(Memory::default())?)
        }
        Some("memory") => Ok(Locker::new(Memory::default())?),
        Some(url) => Ok(Locker::new(redis(url, prefix, ca)?)?),
    }
}

fn redis(url: &str, prefix: Option<&str>, ca: Option<&Path>) -> Result<Redis> {
    let wrong = |error: Error| Misconfigured(error.to_string());
    let mut redis = Redis::open(url).map_err(wrong)?;
    if let Some(prefix) = prefix {
        redis = redis.prefix(prefix).map_err(wrong)?;
    }
    if let Some(ca) = ca {
        let pem = std::fs::read(ca);
        redis = redis.authority(pem.with_context(|| Misconfigured(format!("cannot read {}", ca.display())))?);
    }
    Ok(redis)
}
