//! What this process knows of a server's clock.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use redis::{RedisResult, cmd};

use super::client::{Client, query};
use crate::time::now;

/// What one reply proves: the server's clock showed `micros` at some instant between `sent` and `received`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    pub(super) sent: Instant,
    pub(super) received: Instant,
    pub(super) micros: u64,
}

impl Reading {
    /// What the server's clock shows at least at a later instant.
    fn at_least(&self, instant: Instant) -> u64 {
        let passed = slower(instant.saturating_duration_since(self.received));
        self.micros.saturating_add(u64::try_from(passed.as_micros()).unwrap_or(u64::MAX))
    }

    /// An instant at which the server's clock does not yet show more than `micros`. None if it cannot have shown that by `now`: then the
    /// clock was set forward, or it is another server's.
    pub(super) fn instant_of(&self, micros: u64, now: Instant) -> Option<Instant> {
        let passed = now.saturating_duration_since(self.sent);
        match micros.checked_sub(self.micros).map(Duration::from_micros) {
            Some(later) if later > passed + passed / 1000 => None,
            Some(later) => self.sent.checked_add(slower(later)),
            None => {
                let earlier = Duration::from_micros(self.micros - micros);
                self.sent.checked_sub(earlier.checked_add(earlier / 1000)?)
            }
        }
    }
}

/// Asks a server for its time.
pub(super) async fn read(client: &dyn Client) -> RedisResult<Reading> {
    let sent = now();
    let (seconds, micros): (u64, u64) = query(client, &cmd("TIME"), None).await?;
    Ok(Reading { sent, received: now(), micros: seconds.saturating_mul(1_000_000).saturating_add(micros) })
}

/// Clocks of which one goes faster than the other by more than a thousandth are broken.
fn slower(passed: Duration) -> Duration {
    passed - passed / 1000
}

/// The last reading of the server that serves each hash slot; of a single server, all are in slot 0.
#[derive(Default)]
pub(super) struct Clocks(Mutex<HashMap<u16, Reading>>);

impl Clocks {
    pub(super) fn note(&self, slot: u16, reading: Reading) {
        self.readings().insert(slot, reading);
    }

    pub(super) fn reading(&self, slot: u16) -> Option<Reading> {
        self.readings().get(&slot).copied()
    }

    /// Until when a request may take effect whose client gives up at an instant, in the server's time; 0 if the clock is not known.
    pub(super) fn use_by(&self, slot: u16, gives_up: Instant) -> u64 {
        self.reading(slot).map_or(0, |reading| reading.at_least(gives_up))
    }

    /// Another server answers from here on.
    pub(super) fn clear(&self) {
        self.readings().clear();
    }

    fn readings(&self) -> MutexGuard<'_, HashMap<u16, Reading>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    /// A reply of 100 s that was sent ten seconds ago and arrived nine seconds ago.
    fn reading() -> (Reading, Instant) {
        let now = now();
        let ago = |seconds| now.checked_sub(Duration::from_secs(seconds)).unwrap();
        (Reading { sent: ago(10), received: ago(9), micros: 100 * SECOND }, now)
    }

    #[test]
    fn a_use_by_is_never_later_than_the_server_may_show_when_its_client_gives_up() {
        let (reading, now) = reading();
        assert_eq!(reading.at_least(now), 108_991_000);
        assert_eq!(reading.at_least(now + Duration::from_secs(1)), 109_990_000);
    }

    #[test]
    fn a_lease_that_was_handed_over_is_counted_from_then_and_not_from_when_it_was_heard() {
        let (reading, now) = reading();
        let since = reading.instant_of(104 * SECOND, now).unwrap();
        assert_eq!(since - reading.sent, Duration::from_millis(3996));
    }

    #[test]
    fn a_server_clock_that_was_set_forward_tells_no_instant() {
        let (reading, now) = reading();
        assert_eq!(reading.instant_of(500 * SECOND, now), None);
        assert_eq!(reading.instant_of(u64::MAX, now), None);
    }

    #[test]
    fn a_message_from_before_the_reading_is_counted_back() {
        let (reading, now) = reading();
        assert_eq!(reading.sent - reading.instant_of(99 * SECOND, now).unwrap(), Duration::from_millis(1001));
    }
}
