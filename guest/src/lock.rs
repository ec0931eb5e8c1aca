//! The lock itself: who is granted it, who may release it, who may extend it.

use alloc::string::String;

use crate::cache::{Cache, Delete, Entry, Error, Extend, Set};
use crate::{check, token};

/// How to lock. The default is one attempt, without a label, for the host's default time to live.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Milliseconds until the lock expires, or the host's default.
    pub ttl_ms: Option<u64>,
    /// Milliseconds to wait for a held lock, or a single attempt.
    pub wait_ms: Option<u64>,
    /// Tells others who holds the lock.
    pub owner: Option<String>,
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

/// Who holds a lock, as far as others may know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The label given when the lock was taken.
    pub owner: Option<String>,
    /// The fence of the holder's lease, or 0.
    pub fence: u64,
    /// Milliseconds left; none if the lock never expires.
    pub ttl_ms: Option<u64>,
}

/// The answers of [`lock`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lock {
    /// The caller holds the lock.
    Granted(Lease),
    /// Somebody else does.
    Held(Holder),
}

/// The answers of [`unlock`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unlock {
    /// The lock is free now.
    Released,
    /// Nobody held it.
    Absent,
    /// Another token holds it.
    HeldByOther,
}

/// The answers of [`extend`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extended {
    /// The caller holds the lock for the new time.
    Extended(Lease),
    /// Nobody holds it.
    Absent,
    /// Another token holds it.
    HeldByOther,
}

/// Takes the lock, or waits for it.
///
/// # Errors
/// [`Error::Invalid`] for a bad argument, else as the cache has them.
pub fn lock(cache: &mut impl Cache, name: &str, options: &Options) -> Result<Lock, Error> {
    check::name(name)?;
    options.ttl_ms.map_or(Ok(()), check::ttl)?;
    options.owner.as_deref().map_or(Ok(()), check::owner)?;
    let token = token::mint(options.owner.as_deref())?;
    let mut wait_ms = options.wait_ms.unwrap_or(0);
    loop {
        match cache.set_if_absent(name, &token, options.ttl_ms)? {
            Set::Stored(stored) => {
                return Ok(Lock::Granted(Lease { token, fence: stored.revision, ttl_ms: stored.ttl_ms }));
            }
            Set::Occupied(entry) if wait_ms == 0 => return Ok(Lock::Held(holder(&entry))),
            // When time is up, one more attempt tells whether it was worth it, or else who holds the lock now.
            Set::Occupied(_) => wait_ms = cache.wait_until_absent(name, wait_ms)?,
        }
    }
}

/// Releases the lock if `token` holds it.
///
/// # Errors
/// [`Error::Invalid`] for a bad argument, else as the cache has them.
pub fn unlock(cache: &mut impl Cache, name: &str, token: &str) -> Result<Unlock, Error> {
    check::name(name)?;
    check::token(token)?;
    Ok(match cache.delete_if_equal(name, token)? {
        Delete::Deleted => Unlock::Released,
        Delete::Absent => Unlock::Absent,
        Delete::Different => Unlock::HeldByOther,
    })
}

/// Gives the lock a new time to live if `token` holds it.
///
/// # Errors
/// [`Error::Invalid`] for a bad argument, else as the cache has them.
pub fn extend(cache: &mut impl Cache, name: &str, token: &str, ttl_ms: u64) -> Result<Extended, Error> {
    check::name(name)?;
    check::token(token)?;
    check::ttl(ttl_ms)?;
    Ok(match cache.extend_if_equal(name, token, ttl_ms)? {
        Extend::Extended(stored) => {
            Extended::Extended(Lease { token: String::from(token), fence: stored.revision, ttl_ms: stored.ttl_ms })
        }
        Extend::Absent => Extended::Absent,
        Extend::Different => Extended::HeldByOther,
    })
}

/// Tells who holds the lock.
///
/// # Errors
/// [`Error::Invalid`] for a bad argument, else as the cache has them.
pub fn inspect(cache: &mut impl Cache, name: &str) -> Result<Option<Holder>, Error> {
    check::name(name)?;
    Ok(cache.get(name)?.as_ref().map(holder))
}

fn holder(entry: &Entry) -> Holder {
    Holder { owner: token::owner(&entry.value).map(String::from), fence: entry.revision, ttl_ms: entry.ttl_ms }
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
        freed_after_waits: usize,
    }

    impl Cache for OneKey {
        fn set_if_absent(&mut self, _: &str, value: &str, ttl_ms: Option<u64>) -> Result<Set, Error> {
            self.asked.push("set");
            if let Some(entry) = &self.held {
                return Ok(Set::Occupied(entry.clone()));
            }
            let ttl_ms = ttl_ms.unwrap_or(30_000);
            self.held = Some(Entry { value: value.into(), revision: 7, ttl_ms: Some(ttl_ms) });
            Ok(Set::Stored(Stored { revision: 7, ttl_ms }))
        }
        fn extend_if_equal(&mut self, _: &str, value: &str, ttl_ms: u64) -> Result<Extend, Error> {
            self.asked.push("extend");
            Ok(match &self.held {
                None => Extend::Absent,
                Some(entry) if entry.value == value => Extend::Extended(Stored { revision: entry.revision, ttl_ms }),
                Some(_) => Extend::Different,
            })
        }
        fn delete_if_equal(&mut self, _: &str, value: &str) -> Result<Delete, Error> {
            self.asked.push("delete");
            Ok(match self.held.take_if(|entry| entry.value == value) {
                Some(_) => Delete::Deleted,
                None if self.held.is_none() => Delete::Absent,
                None => Delete::Different,
            })
        }
        fn get(&mut self, _: &str) -> Result<Option<Entry>, Error> {
            self.asked.push("get");
            Ok(self.held.clone())
        }
        fn wait_until_absent(&mut self, _: &str, timeout_ms: u64) -> Result<u64, Error> {
            self.asked.push("wait");
            if self.freed_after_waits == 1 {
                self.held = None;
            }
            self.freed_after_waits = self.freed_after_waits.saturating_sub(1);
            Ok(timeout_ms / 2)
        }
    }

    fn granted(outcome: Lock) -> Lease {
        match outcome {
            Lock::Granted(lease) => lease,
            Lock::Held(holder) => panic!("held: {holder:?}"),
        }
    }

    #[test]
    fn without_a_wait_there_is_one_attempt_and_no_sleep() {
        let mut cache = OneKey::default();
        granted(lock(&mut cache, "job", &Options::default()).unwrap());
        assert!(matches!(lock(&mut cache, "job", &Options::default()), Ok(Lock::Held(_))));
        assert_eq!(cache.asked, ["set", "set"]);
    }

    #[test]
    fn a_waiter_tries_again_after_each_wake_up_until_it_is_granted() {
        let mut cache = OneKey { freed_after_waits: 2, ..OneKey::default() };
        granted(lock(&mut cache, "job", &Options::default()).unwrap());
        let waiting = Options { wait_ms: Some(1000), ..Options::default() };
        granted(lock(&mut cache, "job", &waiting).unwrap());
        assert_eq!(cache.asked, ["set", "set", "wait", "set", "wait", "set"]);
    }

    #[test]
    fn a_waiter_whose_time_is_up_tries_once_more_and_tells_who_holds() {
        let mut cache = OneKey::default();
        let owner = Options { owner: Some("backup".into()), ..Options::default() };
        granted(lock(&mut cache, "job", &owner).unwrap());
        let waiting = Options { wait_ms: Some(1), ..Options::default() };
        let Ok(Lock::Held(holder)) = lock(&mut cache, "job", &waiting) else { panic!("not held") };
        assert_eq!(holder, Holder { owner: Some("backup".into()), fence: 7, ttl_ms: Some(30_000) });
        assert_eq!(cache.asked, ["set", "set", "wait", "set"]);
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
