//! Guests that break one rule each, in plain Rust. They are there to be caught.

use async_trait::async_trait;
use locker_host::{Delete, Entry, Extend, Set, Stored};

use crate::guest::{Answer, Error, ExtendOutcome, Guest, Holder, Lease, LockOutcome, Options, UnlockOutcome};
use crate::lent::{Lent, Unavailable, full_millis};

/// A guest that keeps all rules but one, if any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Native {
    /// Keeps all rules, like the component.
    Honest,
    /// Tries again with a new token after an answer was lost.
    RetriesWithANewToken,
    /// Takes a lock for its own that is held by somebody with its label.
    TakesALabelForAToken,
    /// Looks who holds the lock, and releases it if that begins as its own token does.
    ReleasesByPrefix,
    /// Releases whatever there is.
    ReleasesAnything,
    /// Says that a lock was released, whatever became of it.
    AlwaysReleased,
    /// Takes a lock that it is asked to extend and does not find.
    ExtendTakes,
    /// Says that a lock was extended if it was not.
    AlwaysExtended,
    /// Makes the fence of its own machine's wall clock.
    FenceFromTheWallClock,
    /// Does not count how long it has waited.
    WaitsForEver,
    /// Does not wait until its time is over.
    WaitsOnce,
    /// Asks again and again instead of waiting.
    Polls,
    /// Tells the whole token of who holds the lock.
    TellsTokens,
    /// Keeps the lock for twice as long as it was asked to.
    HoldsTwiceAsLong,
    /// Says that the lock is held, without a look.
    AlwaysHeld,
}

#[async_trait]
impl Guest for Native {
    async fn lock(&self, cache: Lent, name: &str, options: &Options) -> Answer<LockOutcome> {
        let mut token = mint(&cache, options);
        let mut wait_ms = options.wait_ms.unwrap_or(0);
        let ttl_ms = options.ttl_ms.map(|ttl_ms| if *self == Self::HoldsTwiceAsLong { 2 * ttl_ms } else { ttl_ms });
        if *self == Self::AlwaysHeld {
            return Ok(Ok(LockOutcome::Held(Holder { owner: None, fence: 1, ttl_ms: None })));
        }
        loop {
            let entry = match cache.set_if_absent(name, &token, ttl_ms).await {
                Ok(Set::Stored(stored)) => return Ok(Ok(LockOutcome::Granted(self.lease(&cache, token, stored)))),
                Ok(Set::Occupied(entry)) => entry,
                Err(Unavailable) if *self == Self::RetriesWithANewToken => {
                    token = mint(&cache, options);
                    continue;
                }
                Err(unavailable) => return Ok(Err(unavailable.into())),
            };
            if *self == Self::TakesALabelForAToken && owner(&entry.value) == options.owner.as_deref() {
                let stored = Stored { revision: entry.revision, ttl: entry.ttl.unwrap_or_default() };
                return Ok(Ok(LockOutcome::Granted(self.lease(&cache, entry.value, stored))));
            }
            if wait_ms == 0 {
                return Ok(Ok(LockOutcome::Held(self.holder(&entry))));
            }
            if *self == Self::Polls {
                continue;
            }
            let left = match cache.wait_until_absent(name, wait_ms).await {
                Ok(left) => left,
                Err(unavailable) => return Ok(Err(unavailable.into())),
            };
            wait_ms = match self {
                Self::WaitsForEver => wait_ms,
                Self::WaitsOnce => 0,
                _ => left,
            };
        }
    }

    async fn unlock(&self, cache: Lent, name: &str, token: &str) -> Answer<UnlockOutcome> {
        let mut token = token.to_owned();
        if matches!(self, Self::ReleasesByPrefix | Self::ReleasesAnything)
            && let Ok(Some(entry)) = cache.get(name).await
            && (*self == Self::ReleasesAnything || owner(&entry.value) == owner(&token))
        {
            token = entry.value;
        }
        Ok(match cache.delete_if_equal(name, &token).await {
            Ok(Delete::Deleted) => Ok(UnlockOutcome::Released),
            Ok(_) if *self == Self::AlwaysReleased => Ok(UnlockOutcome::Released),
            Ok(Delete::Absent) => Ok(UnlockOutcome::Absent),
            Ok(Delete::Different) => Ok(UnlockOutcome::HeldByOther),
            Err(unavailable) => Err(unavailable.into()),
        })
    }

    async fn extend(&self, cache: Lent, name: &str, token: &str, ttl_ms: u64) -> Answer<ExtendOutcome> {
        let lease = |stored| ExtendOutcome::Extended(self.lease(&cache, token.to_owned(), stored));
        Ok(match cache.extend_if_equal(name, token, ttl_ms).await {
            Ok(Extend::Extended(stored)) => Ok(lease(stored)),
            Ok(Extend::Absent) if *self == Self::ExtendTakes => {
                match cache.set_if_absent(name, token, Some(ttl_ms)).await {
                    Ok(Set::Stored(stored)) => Ok(lease(stored)),
                    Ok(Set::Occupied(_)) => Ok(ExtendOutcome::HeldByOther),
                    Err(unavailable) => Err(unavailable.into()),
                }
            }
            Ok(Extend::Absent) if *self == Self::AlwaysExtended => {
                Ok(lease(Stored { revision: u64::MAX, ttl: std::time::Duration::from_millis(ttl_ms) }))
            }
            Ok(Extend::Absent) => Ok(ExtendOutcome::Absent),
            Ok(Extend::Different) => Ok(ExtendOutcome::HeldByOther),
            Err(unavailable) => Err(unavailable.into()),
        })
    }

    async fn inspect(&self, cache: Lent, name: &str) -> Answer<Option<Holder>> {
        Ok(match cache.get(name).await {
            Ok(entry) => Ok(entry.map(|entry| self.holder(&entry))),
            Err(unavailable) => Err(unavailable.into()),
        })
    }
}

impl Native {
    fn lease(self, cache: &Lent, token: String, stored: Stored) -> Lease {
        let fence = match self {
            Self::FenceFromTheWallClock => cache.wall_clock(),
            _ => stored.revision,
        };
        Lease { token, fence, ttl_ms: full_millis(stored.ttl) }
    }

    fn holder(self, entry: &Entry) -> Holder {
        let shown = if self == Self::TellsTokens { Some(entry.value.as_str()) } else { owner(&entry.value) };
        Holder { owner: shown.map(str::to_owned), fence: entry.revision, ttl_ms: entry.ttl.map(full_millis) }
    }
}

fn mint(cache: &Lent, options: &Options) -> String {
    let random = format!("{:032x}", cache.random());
    options.owner.as_ref().map_or(random.clone(), |label| format!("{label}:{random}"))
}

fn owner(token: &str) -> Option<&str> {
    token.rsplit_once(':').map(|(label, _)| label)
}

impl From<Unavailable> for Error {
    fn from(Unavailable: Unavailable) -> Self {
        Self::Unavailable("no answer".to_owned())
    }
}
