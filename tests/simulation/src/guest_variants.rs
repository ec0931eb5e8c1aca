//! Guests that break one rule each, in plain Rust. The tests must catch them.

use async_trait::async_trait;

use crate::cache::{self, DeleteOutcome, Entry, SetOutcome, Stored, Unavailable, millis_floor};
use crate::guest::{Answer, Error, ExtendOutcome, Guest, Holder, Lease, LockOutcome, Options, UnlockOutcome};
use crate::sim_cache::SimCache;
use crate::table::{MILLISECOND, Micros};

/// A guest that keeps all rules but one, if any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuestVariant {
    /// Keeps all rules, like the component.
    Honest,
    /// Tries again with a new token after a reply was lost.
    RetriesWithANewToken,
    /// Takes a lock for its own if the holder has its label.
    TakesALabelForAToken,
    /// Releases the holder's lock if its value begins as its own token does.
    ReleasesByPrefix,
    /// Releases any lock.
    ReleasesAnything,
    /// Says that a lock was released, whatever became of it.
    AlwaysReleased,
    /// Takes a lock that it is asked to extend and does not find.
    ExtendTakes,
    /// Says that a lock was extended if it was not.
    AlwaysExtended,
    /// Makes the fence of its own machine's wall clock.
    FenceFromTheWallClock,
    /// Waits again when its wait is over.
    WaitsForEver,
    /// Waits for half as long as it was told to.
    WaitsForHalf,
    /// Makes attempts instead of waiting.
    Polls,
    /// Tells the whole token of the holder.
    TellsTokens,
    /// Keeps the lock for twice as long as it was asked to.
    HoldsTwiceAsLong,
    /// Says that the lock is held, without asking the store.
    AlwaysHeld,
}

#[async_trait]
impl Guest for GuestVariant {
    async fn lock(&self, cache: SimCache, name: &str, options: &Options) -> Answer<LockOutcome> {
        let mut token = mint(&cache, options);
        let ends = cache.now() + options.wait_ms.unwrap_or(0) * MILLISECOND;
        let ttl_ms = options.ttl_ms.map(|ttl_ms| if *self == Self::HoldsTwiceAsLong { 2 * ttl_ms } else { ttl_ms });
        if *self == Self::AlwaysHeld {
            return Ok(Ok(LockOutcome::Held(Holder { owner: None, fence: 1, ttl_ms: None, done_ms: None })));
        }
        loop {
            let entry = match cache.set_if_absent(name, &token, ttl_ms, self.wait_ms(options)).await {
                Ok(SetOutcome::Stored(stored)) => {
                    return Ok(Ok(LockOutcome::Granted(self.lease(&cache, token, stored))));
                }
                Ok(SetOutcome::Occupied(entry)) => entry,
                Err(Unavailable) if *self == Self::RetriesWithANewToken => {
                    token = mint(&cache, options);
                    continue;
                }
                Err(unavailable) => return Ok(Err(unavailable.into())),
            };
            if *self == Self::TakesALabelForAToken && owner(&entry.value) == options.owner.as_deref() {
                let stored = Stored { revision: entry.revision, deadline: cache.now() + entry.left };
                return Ok(Ok(LockOutcome::Granted(self.lease(&cache, entry.value, stored))));
            }
            if !self.tries_again(ends, cache.now(), options) {
                return Ok(Ok(LockOutcome::Held(self.holder(&entry))));
            }
        }
    }

    async fn unlock(&self, cache: SimCache, name: &str, token: &str) -> Answer<UnlockOutcome> {
        let mut token = token.to_owned();
        if matches!(self, Self::ReleasesByPrefix | Self::ReleasesAnything)
            && let Ok(Some(entry)) = cache.get(name).await
            && (*self == Self::ReleasesAnything || owner(&entry.value) == owner(&token))
        {
            token = entry.value;
        }
        Ok(match cache.delete_if_equal(name, &token).await {
            Ok(DeleteOutcome::Deleted) => Ok(UnlockOutcome::Released),
            Ok(_) if *self == Self::AlwaysReleased => Ok(UnlockOutcome::Released),
            Ok(DeleteOutcome::Absent) => Ok(UnlockOutcome::Absent),
            Ok(DeleteOutcome::Different) => Ok(UnlockOutcome::HeldByOther),
            Err(unavailable) => Err(unavailable.into()),
        })
    }

    async fn extend(&self, cache: SimCache, name: &str, token: &str, ttl_ms: u64) -> Answer<ExtendOutcome> {
        let lease = |stored| ExtendOutcome::Extended(self.lease(&cache, token.to_owned(), stored));
        Ok(match cache.extend_if_equal(name, token, ttl_ms).await {
            Ok(cache::ExtendOutcome::Extended(stored)) => Ok(lease(stored)),
            Ok(cache::ExtendOutcome::Absent) if *self == Self::ExtendTakes => {
                match cache.set_if_absent(name, token, Some(ttl_ms), 0).await {
                    Ok(SetOutcome::Stored(stored)) => Ok(lease(stored)),
                    Ok(SetOutcome::Occupied(_)) => Ok(ExtendOutcome::HeldByOther),
                    Err(unavailable) => Err(unavailable.into()),
                }
            }
            Ok(cache::ExtendOutcome::Absent) if *self == Self::AlwaysExtended => {
                Ok(lease(Stored { revision: u64::MAX, deadline: cache.now() + ttl_ms * MILLISECOND }))
            }
            Ok(cache::ExtendOutcome::Absent) => Ok(ExtendOutcome::Absent),
            Ok(cache::ExtendOutcome::Different) => Ok(ExtendOutcome::HeldByOther),
            Err(unavailable) => Err(unavailable.into()),
        })
    }

    async fn inspect(&self, cache: SimCache, name: &str) -> Answer<Option<Holder>> {
        Ok(match cache.get(name).await {
            Ok(entry) => Ok(entry.map(|entry| self.holder(&entry))),
            Err(unavailable) => Err(unavailable.into()),
        })
    }
}

impl GuestVariant {
    fn wait_ms(self, options: &Options) -> u64 {
        let wait_ms = options.wait_ms.unwrap_or(0);
        match self {
            Self::WaitsForHalf => wait_ms / 2,
            Self::Polls => 0,
            _ => wait_ms,
        }
    }

    fn tries_again(self, ends: Micros, now: Micros, options: &Options) -> bool {
        match self {
            Self::WaitsForEver => options.wait_ms.is_some_and(|wait_ms| wait_ms > 0),
            Self::Polls => now < ends,
            _ => false,
        }
    }

    fn lease(self, cache: &SimCache, token: String, stored: Stored) -> Lease {
        let fence = match self {
            Self::FenceFromTheWallClock => cache.wall_clock(),
            _ => stored.revision,
        };
        Lease { token, fence, ttl_ms: millis_floor(stored.deadline.saturating_sub(cache.now())) }
    }

    fn holder(self, entry: &Entry) -> Holder {
        let shown = if self == Self::TellsTokens { Some(entry.value.as_str()) } else { owner(&entry.value) };
        let (owner, ttl_ms) = (shown.map(str::to_owned), Some(millis_floor(entry.left)));
        Holder { owner, fence: entry.revision, ttl_ms, done_ms: None }
    }
}

fn mint(cache: &SimCache, options: &Options) -> String {
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
