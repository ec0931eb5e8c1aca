//! What is told to whoever listens: `tracing` events, and metrics through the `metrics` facade.
//!
//! Names of locks are in the events only: as labels of metrics there might be too many. Tokens are in neither.

use std::time::{Duration, Instant};

use metrics::{counter, histogram};
use tracing::{debug, warn};

use crate::grant::Grant;
use crate::guard::Loss;
use crate::{Error, Lock};

/// A `lock` that began at `started` was answered.
pub(crate) fn locked(name: &str, started: Instant, answer: &Result<Lock<Grant>, Error>) {
    counter!("locker_attempts_total").increment(1);
    let waited = started.elapsed();
    match answer {
        Ok(Lock::Granted(Grant { lease, .. })) => {
            counter!("locker_grants_total").increment(1);
            histogram!("locker_wait_seconds").record(waited);
            debug!(lock = name, fence = lease.fence, ttl = ?lease.ttl, ?waited, "granted");
        }
        Ok(Lock::Held(holder)) => {
            counter!("locker_held_total").increment(1);
            debug!(lock = name, owner = holder.owner, fence = holder.fence, left = ?holder.ttl, ?waited, "held by another");
        }
        Err(_) => {}
    }
}

/// An operation failed.
pub(crate) fn failed(operation: &'static str, error: &Error) {
    let class = error.kind().name();
    counter!("locker_errors_total", "operation" => operation, "class" => class).increment(1);
    warn!(lock = error.lock().map(cut), operation, class, error = error.message(), "failed");
}

/// A name, unless it is too long to be one: whoever makes such names up must not fill logs.
fn cut(name: &str) -> &str {
    &name[..name.floor_char_boundary(512)]
}

/// A lock that was held is no longer.
pub(crate) fn lost(name: &str, loss: &Loss) {
    let reason = match loss {
        Loss::Absent => "absent",
        Loss::HeldByOther => "held-by-other",
        Loss::Expired(_) => "expired",
        Loss::MaxHold => "max-hold",
        Loss::Closed => "closed",
    };
    counter!("locker_lost_total", "reason" => reason).increment(1);
    warn!(lock = name, reason, "lost: {loss}");
}

/// A lock is held no longer, lost or not.
pub(crate) fn let_go(name: &str, held: Duration) {
    histogram!("locker_hold_seconds").record(held);
    debug!(lock = name, ?held, "let go");
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
