//! Binds the rules to the WIT world. Nothing is decided here.

use alloc::string::String;

use crate::cache::{self as rules_cache, Cache, DeleteOutcome, Entry, Error, ExtendOutcome, SetOutcome, Stored};
use crate::lock as rules;
use bindings::exports::locker::locker::locker as exported;
use bindings::locker::locker::cache as imported;

mod bindings {
    #![allow(missing_docs, unreachable_pub, reason = "generated; documented in the WIT")]
    wit_bindgen::generate!({ path: "../wit", world: "component", generate_all });
    use super::Component;
    export!(Component);
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}

struct Component;

impl exported::Guest for Component {
    fn lock(name: String, options: exported::Options) -> Result<exported::LockOutcome, exported::Error> {
        let exported::Options { ttl_ms, wait_ms, owner, token } = options;
        let options = rules::Options { ttl_ms, wait_ms, owner, token };
        Ok(match rules::lock(&mut HostCache, &name, &options)? {
            rules::Lock::Granted(lease) => exported::LockOutcome::Granted(lease.into()),
            rules::Lock::Held(holder) => exported::LockOutcome::Held(holder.into()),
        })
    }

    fn unlock(name: String, token: String) -> Result<exported::UnlockOutcome, exported::Error> {
        Ok(rules::unlock(&mut HostCache, &name, &token)?.into())
    }

    fn complete(name: String, token: String, ttl_ms: u64) -> Result<exported::UnlockOutcome, exported::Error> {
        Ok(rules::complete(&mut HostCache, &name, &token, ttl_ms)?.into())
    }

    fn revoke(name: String, fence: u64) -> Result<exported::UnlockOutcome, exported::Error> {
        Ok(rules::revoke(&mut HostCache, &name, fence)?.into())
    }

    fn extend(name: String, token: String, ttl_ms: u64) -> Result<exported::ExtendOutcome, exported::Error> {
        Ok(match rules::extend(&mut HostCache, &name, &token, ttl_ms)? {
            rules::Extended::Extended(lease) => exported::ExtendOutcome::Extended(lease.into()),
            rules::Extended::Absent => exported::ExtendOutcome::Absent,
            rules::Extended::HeldByOther => exported::ExtendOutcome::HeldByOther,
        })
    }

    fn inspect(name: String) -> Result<Option<exported::Holder>, exported::Error> {
        Ok(rules::inspect(&mut HostCache, &name)?.map(Into::into))
    }
}

/// The store of the host.
struct HostCache;

impl Cache for HostCache {
    fn set_if_absent(
        &mut self,
        key: &str,
        value: &str,
        ttl_ms: Option<u64>,
        wait_ms: u64,
    ) -> Result<SetOutcome, Error> {
        Ok(match imported::set_if_absent(key, value, ttl_ms, wait_ms)? {
            imported::SetOutcome::Stored(stored) => SetOutcome::Stored(stored.into()),
            imported::SetOutcome::Occupied(entry) => SetOutcome::Occupied(entry.into()),
        })
    }

    fn extend_if_equal(&mut self, key: &str, value: &str, ttl_ms: u64) -> Result<ExtendOutcome, Error> {
        Ok(imported::extend_if_equal(key, value, ttl_ms)?.into())
    }

    fn replace_if_equal(
        &mut self,
        key: &str,
        value: &str,
        replacement: &str,
        ttl_ms: u64,
    ) -> Result<ExtendOutcome, Error> {
        Ok(imported::replace_if_equal(key, value, replacement, ttl_ms)?.into())
    }

    fn delete_if_equal(&mut self, key: &str, value: &str) -> Result<DeleteOutcome, Error> {
        Ok(match imported::delete_if_equal(key, value)? {
            imported::DeleteOutcome::Deleted => DeleteOutcome::Deleted,
            imported::DeleteOutcome::Absent => DeleteOutcome::Absent,
            imported::DeleteOutcome::Different => DeleteOutcome::Different,
        })
    }

    fn get(&mut self, key: &str) -> Result<Option<Entry>, Error> {
        Ok(imported::get(key)?.map(Into::into))
    }
}

impl From<imported::Stored> for Stored {
    fn from(stored: imported::Stored) -> Self {
        Self { revision: stored.revision, ttl_ms: stored.ttl_ms }
    }
}

impl From<imported::ExtendOutcome> for ExtendOutcome {
    fn from(outcome: imported::ExtendOutcome) -> Self {
        match outcome {
            imported::ExtendOutcome::Extended(stored) => Self::Extended(stored.into()),
            imported::ExtendOutcome::Absent => Self::Absent,
            imported::ExtendOutcome::Different => Self::Different,
        }
    }
}

impl From<imported::Entry> for Entry {
    fn from(entry: imported::Entry) -> Self {
        Self { value: entry.value, revision: entry.revision, ttl_ms: entry.ttl_ms }
    }
}

impl From<imported::Error> for rules_cache::Error {
    fn from(error: imported::Error) -> Self {
        match error {
            imported::Error::Unavailable(why) => Self::Unavailable(why),
            imported::Error::Denied(why) => Self::Denied(why),
            imported::Error::Invalid(why) => Self::Invalid(why),
        }
    }
}

impl From<Error> for exported::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Unavailable(why) => Self::Unavailable(why),
            Error::Denied(why) => Self::Denied(why),
            Error::Invalid(why) => Self::Invalid(why),
        }
    }
}

impl From<rules::Lease> for exported::Lease {
    fn from(lease: rules::Lease) -> Self {
        Self { token: lease.token, fence: lease.fence, ttl_ms: lease.ttl_ms }
    }
}

impl From<rules::Holder> for exported::Holder {
    fn from(holder: rules::Holder) -> Self {
        Self { owner: holder.owner, fence: holder.fence, ttl_ms: holder.ttl_ms, done_ms: holder.done_ms }
    }
}

impl From<rules::Unlock> for exported::UnlockOutcome {
    fn from(outcome: rules::Unlock) -> Self {
        match outcome {
            rules::Unlock::Released => Self::Released,
            rules::Unlock::Absent => Self::Absent,
            rules::Unlock::HeldByOther => Self::HeldByOther,
        }
    }
}
