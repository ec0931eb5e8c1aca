//! The rules of the lock: granting, releasing, extending.

use alloc::string::String;

use crate::cache::{Cache, DeleteOutcome, Entry, Error, ExtendOutcome, SetOutcome};
use crate::{check, token};

/// How to lock. The default is one attempt, without a label, for the host's default time to live.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Milliseconds until the lock expires; none for the host's default.
    pub ttl_ms: Option<u64>,
    /// Milliseconds to wait in the queue for a lock that is held; none for a single attempt.
    pub wait_ms: Option<u64>,
    /// A label of the holder, which other callers can read.
    pub owner: Option<String>,
    /// The token to hold the lock with; none for a new one.
    pub token: Option<String>,
}

/// A lock that the caller holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Releases and extends the lock.
    pub token: String,
    /// Larger for every later grant.
    pub fence: u64,
    /// Milliseconds left.
    pub ttl_ms: u64,
}

/// Who holds a lock, or has completed the work under it, as far as others may know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The label given when the lock was taken.
    pub owner: Option<String>,
    /// The fence of the holder's lease, or 0.
    pub fence: u64,
    /// Milliseconds left; none if the lock never expires.
    pub ttl_ms: Option<u64>,
    /// Milliseconds since the work was completed; none while a caller holds the lock.
    pub done_ms: Option<u64>,
}

/// The answers of [`lock`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lock {
    /// The caller holds the lock.
    Granted(Lease),
    /// Another caller holds it.
    Held(Holder),
}

/// The answers of [`unlock`], [`complete`] and [`revoke`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unlock {
    /// The lock was the holder's and no longer is.
    Released,
    /// No caller held it.
    Absent,
    /// Another token holds it.
    HeldByOther,
}

/// The answers of [`extend`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extended {
    /// The caller holds the lock for the new time.
    Extended(Lease),
    /// No caller held it.
    Absent,
    /// Another token holds it.
    HeldByOther,
}

/// Takes the lock, or waits for it in the store's queue.
///
/// # Errors
/// [`Error::Invalid`] for a bad argument, otherwise as the cache reports them.
pub fn lock(cache: &mut impl Cache, name: &str, options: &Options) -> Result<Lock, Error> {
    check::name(name)?;
    options.ttl_ms.map_or(Ok(()), check::ttl)?;
    options.owner.as_deref().map_or(Ok(()), check::owner)?;
    let owner = options.owner.as_deref();
    let token =
        options.token.as_deref().map_or_else(|| token::mint(owner), |token| check::chosen_token(token, owner))?;
    Ok(match cache.set_if_absent(name, &token, options.ttl_ms, options.wait_ms.unwrap_or(0))? {
        SetOutcome::Stored(stored) => Lock::Granted(Lease { token, fence: stored.revision, ttl_ms: stored.ttl_ms }),
        SetOutcome::Occupied(entry) => Lock::Held(holder(&entry)),
    })
}

/// Releases the lock if `token` holds it.
///
/// # Errors
/// [`Error::Invalid`] for a bad argument, otherwise as the cache reports them.
pub fn unlock(cache: &mut impl Cache, name: &str, token: &str) -> Result<Unlock, Error> {
    check::name(name)?;
    check::token(token)?;
    Ok(match cache.delete_if_equal(name, token)? {
        DeleteOutcome::Deleted => Unlock::Released,
        DeleteOutcome::Absent => Unlock::Absent,
        DeleteOutcome::Different => Unlock::HeldByOther,
    })
}

/// Gives the lock a new time to live if `token` holds it.
///
/// # Errors
/// [`Error::Invalid`] for a bad argument, otherwise as the cache reports them.
pub fn extend(cache: &mut impl Cache, name: &str, token: &str, ttl_ms: u64) -> Result<Extended, Error> {
    check::name(name)?;
    check::token(token)?;
    check::ttl(ttl_ms)?;
    Ok(match cache.extend_if_equal(name, token, ttl_ms)? {
        ExtendOutcome::Extended(stored) => {
            Extended::Extended(Lease { token: String::from(token), fence: stored.revision, ttl_ms: stored.ttl_ms })
        }
        ExtendOutcome::Absent => Extended::Absent,
        ExtendOutcome::Different => Extended::HeldByOther,
    })
}

/// Puts a record that the work is done in the place of `token`, if it holds the lock.
///
/// # Errors
/// [`Error::Invalid`] for a bad argument, otherwise as the cache reports them.
pub fn complete(cache: &mut impl Cache, name: &str, token: &str, ttl_ms: u64) -> Result<Unlock, Error> {
    check::name(name)?;
    check::token(token)?;
    check::ttl(ttl_ms)?;
    Ok(match cache.replace_if_equal(name, token, &token::completed(token, ttl_ms), ttl_ms)? {
        ExtendOutcome::Extended(_) => Unlock::Released,
        ExtendOutcome::Absent => Unlock::Absent,
        ExtendOutcome::Different => Unlock::HeldByOther,
    })
}

/// Releases the lock if it is taken with this fence. Only the value with the fence is deleted, so a call that is repeated or late takes the
/// lock from no other holder.
///
/// # Errors
/// [`Error::Invalid`] for a bad argument, otherwise as the cache reports them.
pub fn revoke(cache: &mut impl Cache, name: &str, fence: u64) -> Result<Unlock, Error> {
    check::name(name)?;
    check::fence(fence)?;
    let Some(entry) = cache.get(name)? else { return Ok(Unlock::Absent) };
    if entry.revision != fence {
        return Ok(Unlock::HeldByOther);
    }
    Ok(match cache.delete_if_equal(name, &entry.value)? {
        DeleteOutcome::Deleted => Unlock::Released,
        DeleteOutcome::Absent => Unlock::Absent,
        DeleteOutcome::Different => Unlock::HeldByOther,
    })
}

/// Returns the holder of the lock.
///
/// # Errors
/// [`Error::Invalid`] for a bad argument, otherwise as the cache reports them.
pub fn inspect(cache: &mut impl Cache, name: &str) -> Result<Option<Holder>, Error> {
    check::name(name)?;
    Ok(cache.get(name)?.as_ref().map(holder))
}

fn holder(entry: &Entry) -> Holder {
    let (token, kept_ms) = token::split_completed(&entry.value);
    Holder {
        owner: token::owner(token).map(String::from),
        fence: entry.revision,
        ttl_ms: entry.ttl_ms,
        done_ms: kept_ms.map(|kept_ms| kept_ms.saturating_sub(entry.ttl_ms.unwrap_or(0))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Stored;

    /// A store of one key without a clock: enough to see what the rules ask of it and what they make of the answers.
    #[derive(Default)]
    struct OneKey {
        held: Option<Entry>,
        asked: Vec<&'static str>,
        waits: Vec<u64>,
        freed_meanwhile: bool,
    }

    impl Cache for OneKey {
        fn set_if_absent(
            &mut self,
            _: &str,
            value: &str,
            ttl_ms: Option<u64>,
            wait_ms: u64,
        ) -> Result<SetOutcome, Error> {
            self.asked.push("set");
            self.waits.push(wait_ms);
            if wait_ms > 0 && self.freed_meanwhile {
                self.held = None;
            }
            if let Some(entry) = &self.held {
                return Ok(SetOutcome::Occupied(entry.clone()));
            }
            let ttl_ms = ttl_ms.unwrap_or(30_000);
            self.held = Some(Entry { value: value.into(), revision: 7, ttl_ms: Some(ttl_ms) });
            Ok(SetOutcome::Stored(Stored { revision: 7, ttl_ms }))
        }
        fn extend_if_equal(&mut self, _: &str, value: &str, ttl_ms: u64) -> Result<ExtendOutcome, Error> {
            self.asked.push("extend");
            Ok(match &self.held {
                None => ExtendOutcome::Absent,
                Some(entry) if entry.value == value => {
                    ExtendOutcome::Extended(Stored { revision: entry.revision, ttl_ms })
                }
                Some(_) => ExtendOutcome::Different,
            })
        }
        fn replace_if_equal(&mut self, _: &str, value: &str, by: &str, ttl_ms: u64) -> Result<ExtendOutcome, Error> {
            self.asked.push("replace");
            Ok(match &mut self.held {
                None => ExtendOutcome::Absent,
                Some(entry) if entry.value == value || entry.value == by => {
                    (entry.value, entry.ttl_ms) = (by.into(), Some(ttl_ms));
                    ExtendOutcome::Extended(Stored { revision: entry.revision, ttl_ms })
                }
                Some(_) => ExtendOutcome::Different,
            })
        }
        fn delete_if_equal(&mut self, _: &str, value: &str) -> Result<DeleteOutcome, Error> {
            self.asked.push("delete");
            Ok(match self.held.take_if(|entry| entry.value == value) {
                Some(_) => DeleteOutcome::Deleted,
                None if self.held.is_none() => DeleteOutcome::Absent,
                None => DeleteOutcome::Different,
            })
        }
        fn get(&mut self, _: &str) -> Result<Option<Entry>, Error> {
            self.asked.push("get");
            Ok(self.held.clone())
        }
    }

    fn granted(outcome: Lock) -> Lease {
        match outcome {
            Lock::Granted(lease) => lease,
            Lock::Held(holder) => panic!("held: {holder:?}"),
        }
    }

    #[test]
    fn without_a_wait_the_store_is_asked_once_and_told_not_to_wait() {
        let mut cache = OneKey::default();
        granted(lock(&mut cache, "job", &Options::default()).unwrap());
        assert!(matches!(lock(&mut cache, "job", &Options::default()), Ok(Lock::Held(_))));
        assert_eq!((cache.asked, cache.waits), (vec!["set", "set"], vec![0, 0]));
    }

    #[test]
    fn a_wait_reaches_the_store_in_the_only_request() {
        let mut cache = OneKey { freed_meanwhile: true, ..OneKey::default() };
        granted(lock(&mut cache, "job", &Options::default()).unwrap());
        let waiting = Options { wait_ms: Some(1000), ..Options::default() };
        granted(lock(&mut cache, "job", &waiting).unwrap());
        assert_eq!((cache.asked, cache.waits), (vec!["set", "set"], vec![0, 1000]));
    }

    #[test]
    fn a_caller_whose_wait_is_over_learns_who_holds_the_lock() {
        let mut cache = OneKey::default();
        let owner = Options { owner: Some("backup".into()), ..Options::default() };
        granted(lock(&mut cache, "job", &owner).unwrap());
        let waiting = Options { wait_ms: Some(1), ..Options::default() };
        let Ok(Lock::Held(holder)) = lock(&mut cache, "job", &waiting) else { panic!("not held") };
        let backup = Holder { owner: Some("backup".into()), fence: 7, ttl_ms: Some(30_000), done_ms: None };
        assert_eq!(holder, backup);
        assert_eq!(cache.asked, ["set", "set"]);
    }

    #[test]
    fn only_the_whole_token_releases_and_extends() {
        let mut cache = OneKey::default();
        let lease = granted(lock(&mut cache, "job", &Options::default()).unwrap());
        let half = &lease.token[..16];
        let longer = format!("{}0", lease.token);
        for wrong in [half, &longer] {
            assert_eq!(unlock(&mut cache, "job", wrong), Ok(Unlock::HeldByOther));
            assert_eq!(extend(&mut cache, "job", wrong, 1), Ok(Extended::HeldByOther));
        }
        assert_eq!(
            extend(&mut cache, "job", &lease.token, 9),
            Ok(Extended::Extended(Lease { ttl_ms: 9, ..lease.clone() }))
        );
        assert_eq!(unlock(&mut cache, "job", &lease.token), Ok(Unlock::Released));
        assert_eq!(unlock(&mut cache, "job", &lease.token), Ok(Unlock::Absent));
        assert_eq!(extend(&mut cache, "job", &lease.token, 9), Ok(Extended::Absent));
    }

    #[test]
    fn completed_work_keeps_the_lock_from_all_callers_until_it_expires() {
        let mut cache = OneKey::default();
        let options = Options { owner: Some("me".into()), ..Options::default() };
        let lease = granted(lock(&mut cache, "job", &options).unwrap());
        for _ in 0..2 {
            assert_eq!(complete(&mut cache, "job", &lease.token, 9_000), Ok(Unlock::Released));
        }
        cache.held.as_mut().unwrap().ttl_ms = Some(8_000);
        let done = Holder { owner: Some("me".into()), fence: 7, ttl_ms: Some(8_000), done_ms: Some(1_000) };
        assert_eq!(inspect(&mut cache, "job"), Ok(Some(done.clone())));
        assert_eq!(lock(&mut cache, "job", &options), Ok(Lock::Held(done)));
        assert_eq!(unlock(&mut cache, "job", &lease.token), Ok(Unlock::HeldByOther));
        assert_eq!(extend(&mut cache, "job", &lease.token, 1), Ok(Extended::HeldByOther));
        let record = cache.held.clone().unwrap().value;
        assert!(unlock(&mut cache, "job", &record).is_err() && extend(&mut cache, "job", &record, 1).is_err());
        assert_eq!(revoke(&mut cache, "job", 7), Ok(Unlock::Released));
        assert_eq!(complete(&mut cache, "job", &lease.token, 1), Ok(Unlock::Absent));
    }

    #[test]
    fn only_the_holder_with_the_fence_loses_the_lock() {
        let mut cache = OneKey::default();
        assert_eq!(revoke(&mut cache, "job", 7), Ok(Unlock::Absent));
        granted(lock(&mut cache, "job", &Options::default()).unwrap());
        assert_eq!(revoke(&mut cache, "job", 6), Ok(Unlock::HeldByOther));
        assert_eq!(revoke(&mut cache, "job", 7), Ok(Unlock::Released));
        assert_eq!(cache.asked, ["get", "set", "get", "get", "delete"]);
    }

    #[test]
    fn a_caller_that_chose_its_token_gets_its_lease_again() {
        let mut cache = OneKey::default();
        let chosen = "5f3a9c1e7b2d4806f1e2d3c4b5a69788";
        let options = Options { token: Some(chosen.into()), owner: Some("me".into()), ..Options::default() };
        let lease = granted(lock(&mut cache, "job", &options).unwrap());
        assert_eq!(lease.token, format!("me:{chosen}"));
        let labelled = Options { token: Some(lease.token.clone()), ..Options::default() };
        assert_eq!(cache.held.as_ref().unwrap().value, lease.token);
        cache.held = None;
        assert_eq!(granted(lock(&mut cache, "job", &labelled).unwrap()).token, lease.token);
    }

    #[test]
    fn bad_arguments_never_reach_the_store() {
        let mut cache = OneKey::default();
        let no_time = Options { ttl_ms: Some(0), ..Options::default() };
        let no_label = Options { owner: Some(String::new()), ..Options::default() };
        assert!(lock(&mut cache, "", &Options::default()).is_err());
        assert!(lock(&mut cache, "job", &no_time).is_err());
        assert!(lock(&mut cache, "job", &no_label).is_err());
        assert!(unlock(&mut cache, "job", "").is_err());
        assert!(unlock(&mut cache, "a\nb", "t").is_err());
        assert!(extend(&mut cache, "job", "t", 0).is_err());
        assert!(complete(&mut cache, "job", "t", 0).is_err());
        assert!(revoke(&mut cache, "job", 0).is_err());
        assert!(lock(&mut cache, "job", &Options { token: Some("t".into()), ..Options::default() }).is_err());
        assert!(inspect(&mut cache, "").is_err());
        assert!(cache.asked.is_empty());
    }

    #[test]
    fn inspect_tells_the_holder_and_not_the_token() {
        let mut cache = OneKey::default();
        assert_eq!(inspect(&mut cache, "job"), Ok(None));
        let lease =
            granted(lock(&mut cache, "job", &Options { owner: Some("me".into()), ..Options::default() }).unwrap());
        let shown = format!("{:?}", inspect(&mut cache, "job").unwrap().unwrap());
        assert!(shown.contains("me") && !shown.contains(&lease.token[3..]), "{shown}");
    }
}
