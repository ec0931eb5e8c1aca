//! Events through `tracing`, and metrics through the `metrics` facade.
//!
//! Names of locks are in the events only: as labels of metrics there might be too many. Tokens are in neither.

use std::fmt::Display;
use std::time::Duration;

use metrics::{counter, gauge, histogram};
use tracing::{debug, info, warn};

use crate::{Error, Holder, Lease};

/// A `lock` was answered.
pub(crate) fn attempted() {
    counter!("locker_attempts_total").increment(1);
}

pub(crate) fn granted(name: &str, lease: &Lease, waited: Duration) {
    counter!("locker_grants_total").increment(1);
    histogram!("locker_wait_seconds").record(waited);
    debug!(lock = name, fence = lease.fence, ttl = ?lease.ttl, ?waited, "granted");
}

pub(crate) fn held(name: &str, holder: &Holder, waited: Duration) {
    counter!("locker_held_total").increment(1);
    debug!(lock = name, owner = holder.owner, fence = holder.fence, left = ?holder.ttl, ?waited, "held by another");
}

/// An operation failed.
pub(crate) fn failed(operation: &'static str, error: &Error) {
    let class = error.kind().name();
    counter!("locker_errors_total", "operation" => operation, "class" => class).increment(1);
    warn!(lock = error.lock().map(cut), operation, class, error = error.message(), "failed");
}

/// A name, cut if it is too long to be one: invented names must not fill logs.
fn cut(name: &str) -> &str {
    &name[..name.floor_char_boundary(512)]
}

/// A lock that was held is no longer: the reason as a label, and in words.
pub(crate) fn lost(name: &str, reason: &'static str, message: &dyn Display) {
    counter!("locker_lost_total", "reason" => reason).increment(1);
    warn!(lock = name, reason, "lost: {message}");
}

/// A lock was taken from its holder.
pub(crate) fn revoked(name: &str, fence: u64) {
    counter!("locker_revoked_total").increment(1);
    warn!(lock = name, fence, "revoked");
}

/// The work under a lock is done, and the lock stays taken.
pub(crate) fn completed(name: &str, fence: u64, period: Duration) {
    counter!("locker_completed_total").increment(1);
    debug!(lock = name, fence, ?period, "completed");
}

/// A lock is held no longer, lost or not.
pub(crate) fn released(name: &str, held: Duration) {
    histogram!("locker_hold_seconds").record(held);
    debug!(lock = name, ?held, "released");
}

/// A leader has begun its term.
pub(crate) fn term_began(name: &str, fence: u64) {
    counter!("locker_terms_total").increment(1);
    gauge!("locker_leading").increment(1);
    info!(lock = name, fence, "leading");
}

/// A leader leads no longer, whatever the reason.
pub(crate) fn term_ended(name: &str, led: Duration) {
    gauge!("locker_leading").decrement(1);
    histogram!("locker_term_seconds").record(led);
    info!(lock = name, ?led, "leading no longer");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_cannot_be_a_name_is_cut() {
        assert_eq!(cut(&"n".repeat(512)).len(), 512);
        assert_eq!(cut(&"n".repeat(1 << 20)).len(), 512);
        assert_eq!(cut(&"鎖".repeat(200)).len(), 510);
    }
}
