//! What is counted.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use locker_host::ErrorKind;

#[derive(Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn count(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// What came of the clients' calls.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) grants: Count,
    pub(super) held: Count,
    pub(super) extensions: Count,
    pub(super) releases: Count,
    /// Locks that were gone when they were released, as they had to be: their time was up.
    pub(super) expired: Count,
    /// Calls that were dropped before they ended.
    pub(super) dropped: Count,
    unavailable: Count,
    /// Grants whose lease was over when the answer came.
    too_late: Count,
    /// Errors of a class that nothing here should cause.
    pub(super) other_errors: Count,
    /// Locks that were gone before their time.
    pub(super) lost: Count,
    /// Calls that did not end.
    pub(super) endless: Count,
    slowest_micros: AtomicU64,
}

impl Tally {
    pub(super) fn failed(&self, kind: ErrorKind) {
        match kind {
            ErrorKind::Unavailable => self.unavailable.count(),
            ErrorKind::Expired => self.too_late.count(),
            _ => self.other_errors.count(),
        }
    }

    pub(super) fn took(&self, time: Duration) {
        self.slowest_micros.fetch_max(u64::try_from(time.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }

    pub(super) fn slowest(&self) -> Duration {
        Duration::from_micros(self.slowest_micros.load(Relaxed))
    }

    /// All of it, and what each number says.
    pub(super) fn rows(&self) -> [(&'static str, u64); 8] {
        [
            ("grants", self.grants.get()),
            ("refusals, held by another", self.held.get()),
            ("extensions", self.extensions.get()),
            ("releases", self.releases.get()),
            ("locks that expired", self.expired.get()),
            ("calls that were dropped", self.dropped.get()),
            ("errors, store unavailable", self.unavailable.get()),
            ("grants that came too late", self.too_late.get()),
        ]
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let violations = self.lost.get() + self.endless.get() + self.other_errors.get();
        write!(f, "{} grants, {} errors, {violations} violations", self.grants.get(), self.unavailable.get())
    }
}
