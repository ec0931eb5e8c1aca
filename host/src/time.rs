//! Clocks, and the arithmetic of times: milliseconds, leases.

use std::time::{Duration, Instant, SystemTime};

/// The instant that it is now, by the clock of tokio's timers. So deadlines and timers agree where that clock is paused, as in simulations.
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads it")]
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

pub(crate) fn elapsed(start: Instant) -> Duration {
    now().saturating_duration_since(start)
}

/// The time of day, of which fencing tokens are made. It is read once; from then on, time passes as for [`now`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct WallClock {
    started: Instant,
    started_micros: u64,
}

impl WallClock {
    /// A clock that shows so many microseconds since 1970 now.
    pub(crate) fn starting_at(micros: u64) -> Self {
        Self { started: now(), started_micros: micros }
    }

    /// Microseconds since 1970.
    pub(crate) fn micros(&self) -> u64 {
        let passed = elapsed(self.started).as_micros();
        self.started_micros.saturating_add(u64::try_from(passed).unwrap_or(u64::MAX))
    }
}

impl Default for WallClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads it")]
    fn default() -> Self {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self::starting_at(u64::try_from(since_epoch.as_micros()).unwrap_or_default())
    }
}

/// One moment, on the clock of this process and on the one that all processes of the machine share.
#[cfg(all(feature = "local", target_os = "linux"))]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) instant: Instant,
    /// Microseconds since the machine was booted, without the time for which it was suspended. `Instant` leaves that out too, so a deadline
    /// in this process and the expiry in the store agree after a suspension.
    pub(crate) micros: u64,
}

#[cfg(all(feature = "local", target_os = "linux"))]
impl Moment {
    /// The instant is read first, so that deadlines made from it are not too late.
    pub(crate) fn now() -> std::io::Result<Self> {
        let instant = now();
        let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC)?;
        let time = Duration::new(u64::try_from(time.tv_sec()).unwrap_or(0), u32::try_from(time.tv_nsec()).unwrap_or(0));
        Ok(Self { instant, micros: u64::try_from(time.as_micros()).unwrap_or(u64::MAX) })
    }

    /// When the shared clock shows `micros`, or a year from now if that is later.
    pub(crate) fn instant_of(&self, micros: u64) -> Instant {
        after(self.instant, Duration::from_micros(micros.saturating_sub(self.micros)).min(YEAR))
    }
}

/// The least time that a lease of `ttl` must have left to count: the contract counts in whole milliseconds.
pub(crate) fn least_left(ttl: Duration) -> Duration {
    Duration::from_millis(1).min(ttl / 2)
}

/// How long the cache keeps a value that it stored or extended, at least.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Term {
    pub(crate) deadline: Instant,
    /// The whole time to live, including the part that the answer took.
    pub(crate) ttl: Duration,
}

impl Term {
    /// Whether more than `required` is left.
    pub(crate) fn has_left(&self, required: Duration) -> bool {
        self.left() > required
    }

    pub(crate) fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(now())
    }
}

/// Milliseconds, fractions rounded up.
pub(crate) fn millis_ceil(duration: Duration) -> u64 {
    // Not by dividing all nanoseconds: that is slow with 128 bits.
    let fraction = u64::from(duration.subsec_nanos().div_ceil(1_000_000));
    duration.as_secs().checked_mul(1000).and_then(|millis| millis.checked_add(fraction)).unwrap_or(u64::MAX)
}

/// Milliseconds, fractions rounded down: for what is left of a time to live.
pub(crate) fn millis_floor(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A year: the end of what the clock cannot represent.
pub(crate) const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The instant that comes so long after `start`, or a year after it if the clock cannot represent that.
pub(crate) fn after(start: Instant, duration: Duration) -> Instant {
    start.checked_add(duration).unwrap_or(start + YEAR)
}

/// The instant that comes so long before `end`, or `end` itself if the clock cannot represent that.
pub(crate) fn before(end: Instant, duration: Duration) -> Instant {
    end.checked_sub(duration).unwrap_or(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn term(ttl: u64, passed: u64) -> Term {
        let (asked, ttl) = (now().checked_sub(Duration::from_millis(passed)).unwrap(), Duration::from_millis(ttl));
        Term { deadline: asked + ttl, ttl }
    }

    #[test]
    fn time_is_that_of_timers_and_of_the_system_outside_of_a_runtime() {
        let started = now();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async { tokio::time::sleep(Duration::from_millis(1)).await });
        assert!(elapsed(started) >= Duration::from_millis(1));
    }

    #[test]
    fn a_term_has_left_what_the_answer_did_not_take() {
        let required = Duration::from_secs(1);
        assert!(term(60_000, 58_000).has_left(required));
        assert!(!term(60_000, 59_500).has_left(required));
        assert!(!term(60_000, 61_000).has_left(Duration::ZERO));
    }

    #[test]
    fn half_of_the_shortest_term_is_enough() {
        assert_eq!(least_left(Duration::from_millis(1)), Duration::from_micros(500));
        assert_eq!(least_left(Duration::from_secs(1)), Duration::from_millis(1));
    }
}
