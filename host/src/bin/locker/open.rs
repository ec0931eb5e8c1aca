//! The cache that the command line names.

use anyhow::Result;
use locker_host::{Locker, Memory, Redis};

use crate::exit::Misconfigured;
use crate::report;

pub(crate) fn locker(cache: Option<&str>, prefix: Option<&str>) -> Result<Locker> {
    match cache {
        None => {
            report::words(
                "note: locks in memory end with this process; share them with --cache redis://HOST or LOCKER_CACHE",
            );
            Ok(Locker::new(Memory::default())?)
        }
        Some("memory") => Ok(Locker::new(Memory::default())?),
        Some(url) => {
            let mut redis = Redis::open(url).map_err(Misconfigured)?;
            if let Some(prefix) = prefix {
                redis = redis.prefix(prefix).map_err(Misconfigured)?;
            }
            Ok(Locker::new(redis)?)
        }
    }
}
