//! What one process of a client knows: the server's clock, its subscription, its waiters.

use std::collections::{BTreeMap, BTreeSet};

use crate::request::{HandOff, Notice};
use crate::table::Micros;

#[derive(Debug, Default)]
pub(crate) struct Client {
    /// The last reading of the server's clock; none on a new connection.
    pub(crate) clock: Option<Reading>,
    /// The connection that is subscribed, as far as the client knows.
    pub(crate) subscribed: Option<u64>,
    /// Those that wait, in the order in which they came.
    pub(crate) waiters: Vec<Waiter>,
    /// Values that were queued and have been answered as stored since the connection began. A message on this connection may still tell of
    /// them.
    pub(crate) answered: BTreeSet<String>,
    /// Extensions without a reply: until when they may take effect, and their time to live, by value.
    pub(crate) doubts: BTreeMap<String, Vec<(Micros, u64)>>,
    /// Values that are being withdrawn.
    pub(crate) withdrawing: BTreeSet<String>,
    pub(crate) paused_until: Micros,
}

/// A caller that waits.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) process: usize,
    pub(crate) key: String,
    pub(crate) value: String,
    /// What the last message told of.
    pub(crate) hand_off: Option<HandOff>,
    /// Whether it is to look at once.
    pub(crate) look: bool,
    /// For how long it has slept while the lock was its own or free.
    pub(crate) forgotten: Micros,
}

/// What a reply proves: the server's clock showed `time` at some instant between `sent` and `received`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    pub(crate) sent: Micros,
    pub(crate) received: Micros,
    pub(crate) time: u64,
}

impl Reading {
    /// What the server's clock shows at least at a later instant.
    pub(crate) fn at_least(&self, instant: Micros) -> u64 {
        self.time + slower(instant.saturating_sub(self.received))
    }

    /// An instant at which the server's clock did not yet show more than `time`; none if the clock was set forward since.
    pub(crate) fn instant_of(&self, time: u64, now: Micros) -> Option<Micros> {
        let most = self.time + faster(now.saturating_sub(self.sent));
        if time > most {
            return None;
        }
        Some(match time.checked_sub(self.time) {
            Some(later) => (self.sent + slower(later)).min(now),
            None => self.sent.saturating_sub(faster(self.time - time)),
        })
    }
}

/// The rates of two clocks differ by less than a thousandth.
fn slower(passed: Micros) -> Micros {
    passed - passed / 1000
}

fn faster(passed: Micros) -> Micros {
    passed + passed.div_ceil(1000)
}

impl Client {
    pub(crate) fn waiter(&mut self, process: usize) -> Option<&mut Waiter> {
        self.waiters.iter_mut().find(|waiter| waiter.process == process)
    }

    /// Whether this waiter reports for all of its queue in this client: the one that came first does.
    pub(crate) fn is_reporter(&self, process: usize) -> bool {
        let Some(waiter) = self.waiters.iter().find(|waiter| waiter.process == process) else { return false };
        self.waiters.iter().find(|other| other.key == waiter.key).is_some_and(|first| first.process == process)
    }

    /// A waiter leaves. The next one may report from here on.
    pub(crate) fn remove_waiter(&mut self, process: usize) {
        let Some(index) = self.waiters.iter().position(|waiter| waiter.process == process) else { return };
        let key = self.waiters.remove(index).key;
        if let Some(next) = self.waiters.iter_mut().find(|waiter| waiter.key == key) {
            next.look = true;
        }
    }

    /// Lets all waiters of a queue, or all that there are, confirm their entries.
    pub(crate) fn wake(&mut self, key: Option<&str>) {
        let all = self.waiters.iter_mut().filter(|waiter| key.is_none_or(|key| waiter.key == key));
        all.for_each(|waiter| waiter.look = true);
    }

    /// The connection is gone, and with it what is known of the server: another one may answer next.
    pub(crate) fn disconnect(&mut self, same_server: bool) {
        self.clock.take_if(|_| !same_server);
        self.subscribed = None;
        self.answered.clear();
        self.wake(None);
    }

    /// Passes a message on. Returns the value if no caller awaits it.
    pub(crate) fn hear(&mut self, notice: Notice) -> Option<String> {
        let Notice { key, hand_off, .. } = notice;
        let Some(hand_off) = hand_off else {
            if let Some(reporter) = self.waiters.iter_mut().find(|waiter| waiter.key == key) {
                reporter.look = true;
            }
            return None;
        };
        let mut waiters = self.waiters.iter_mut();
        let Some(waiter) = waiters.find(|waiter| waiter.key == key && waiter.value == hand_off.value) else {
            return Some(hand_off.value);
        };
        waiter.hand_off = Some(hand_off);
        None
    }

    /// The shortest time to live that an extension without a reply may still give a value.
    pub(crate) fn shortest_doubt(&mut self, value: &str, now: Micros) -> Option<u64> {
        let doubts = self.doubts.get_mut(value)?;
        doubts.retain(|(until, _)| *until >= now);
        doubts.iter().map(|(_, ttl_ms)| *ttl_ms).min()
    }
}
