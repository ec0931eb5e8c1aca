//! Waiting in line for a key.
//!
//! A line is a list in the server: values, each with its time to live and with the channel on which its owner listens. Who
//! deletes a key stores the first of them whose owner is still there, in the same step, and tells the owner. So a hand-off
//! takes one message, however many wait. Whose message got lost finds out when it comes again, which all must do now and then:
//! a machine that was cut off from the network is still there, as far as the server knows.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use super::script::{Script, script};
use super::wakeups::Handed;
use super::{Answer, FENCE_KEPT, Redis, millis, remaining};
use crate::{CacheError, Stored};

static LINE_UP: LazyLock<Script> = script!("fence.lua", "set.lua", "place.lua", "line_up.lua");
static LEAVE: LazyLock<Script> = script!("place.lua", "leave.lua");

/// What the server said when it was asked, while another value lay under the key.
struct Look {
    asked: Instant,
    revision: u64,
    /// By the server's clock in microseconds.
    at: u64,
}

impl Redis {
    /// Waits until the value is stored, and tells so, unless it has to be asked for once more; or until time is up.
    pub(super) async fn wait_in_line(
        &self,
        name: &str,
        value: &str,
        ttl: Duration,
        patience: Duration,
    ) -> Result<Option<Stored>, CacheError> {
        let started = Instant::now();
        let (line, (key, fence)) = (self.line(name), self.keys(name));
        let channel = line.clone() + self.connection.listener();
        let args = [value, &millis(ttl), &millis(ttl.saturating_add(FENCE_KEPT)), self.connection.listener()];
        let listener = self.listen(&channel, Some(value));
        let stored = |since: Instant, revision, ttl| {
            // Whether enough replicas know of it, only one who asks for it is told.
            let ttl = since.duration_since(started).saturating_add(ttl);
            (self.replicas == 0).then_some(Stored { revision, ttl })
        };
        loop {
            self.subscribe(&channel, &listener).await?;
            let asked = Instant::now();
            let Answer { value: (revision, left, other, at, pause), .. } =
                self.run::<(u64, i64, Option<()>, u64, u64)>(&LINE_UP, &[&key, &fence, &line], &args).await?;
            if other.is_none() {
                return Ok(stored(asked, revision, remaining(left).unwrap_or(ttl)));
            }
            let pause = remaining(left).unwrap_or(Duration::MAX).min(Duration::from_millis(pause));
            let nap = patience.saturating_sub(started.elapsed()).min(pause);
            _ = tokio::time::timeout(nap, listener.woken()).await;
            let look = Look { asked, revision, at };
            if let Some((revision, since)) = listener.handed().and_then(|handed| look.then(handed)) {
                return Ok(stored(since, revision, ttl));
            }
            if started.elapsed() >= patience {
                self.leave_line(&line, value).await?;
                return Ok(None);
            }
        }
    }

    pub(super) async fn leave_line(&self, line: &str, value: &str) -> Result<(), CacheError> {
        self.run::<u8>(&LEAVE, &[line], &[self.connection.listener(), value]).await.map(|_| ())
    }
}

impl Look {
    /// The revision of what was handed over after this, and a time of our own clock before which that was not. A message that
    /// took too long may be of a time before this, and then says nothing.
    fn then(&self, handed: Handed) -> Option<(u64, Instant)> {
        let passed = Duration::from_micros(handed.at.checked_sub(self.at)?);
        // Clocks of which one goes faster than the other by more than a thousandth are broken.
        let since = self.asked.checked_add(passed - passed / 1000)?;
        (handed.revision > self.revision).then(|| (handed.revision, since.min(Instant::now())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    /// What is made of a message that says `revision` and `at`, heard ten seconds after a look at revision 5 and 100 seconds.
    fn heard(revision: u64, at: u64) -> Option<Duration> {
        let asked = Instant::now().checked_sub(Duration::from_secs(10)).unwrap();
        let look = Look { asked, revision: 5, at: 100 * SECOND };
        look.then(Handed { revision, at }).map(|(_, since)| since - asked)
    }

    #[test]
    fn what_is_handed_over_is_counted_from_then_and_not_from_when_it_was_heard() {
        assert_eq!(heard(6, 104 * SECOND), Some(Duration::from_millis(3996)));
    }

    #[test]
    fn a_servers_clock_that_was_set_forward_makes_no_time() {
        assert!(heard(6, 500 * SECOND).is_some_and(|since| since < Duration::from_secs(11)));
        assert_eq!(heard(6, u64::MAX).map(|since| since.as_secs()), Some(10));
    }

    #[test]
    fn a_message_from_before_the_look_says_nothing() {
        assert_eq!(heard(5, 104 * SECOND), None);
        assert_eq!(heard(6, 99 * SECOND), None);
    }
}
