//! Waiting in the queue of a lock.

use crate::cache::{SetOutcome, Stored, Unavailable};
use crate::client::Waiter;
use crate::port::Port;
use crate::request::{HandOff, Outcome, Queued, Step};
use crate::retry::Doubt;
use crate::sim_cache::SimCache;
use crate::table::{MILLISECOND, Micros, SECOND};

/// The longest interval between two reports.
const REPORT_INTERVAL: Micros = 2 * SECOND;
/// How often a waiter looks by itself that does not report: its message may have been lost.
const LOOK_INTERVAL: Micros = 6 * SECOND;
/// When to report again to a server that does not know the subscription.
const RESUBSCRIBE_DELAY: Micros = 100 * MILLISECOND;

/// A caller that waits.
pub(crate) struct Wait<'a> {
    cache: &'a SimCache,
    key: &'a str,
    value: &'a str,
    ttl_ms: u64,
    ends: Micros,
    /// 0 until the server has given one.
    ticket: u64,
    doubt: Doubt,
    _registration: Registration,
}

/// Keeps a waiter known to its client.
struct Registration {
    port: Port,
    host: usize,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.port.world().clients[self.host].remove_waiter(self.port.process());
    }
}

impl<'a> Wait<'a> {
    pub(crate) fn new(
        cache: &'a SimCache,
        key: &'a str,
        value: &'a str,
        ttl_ms: u64,
        ends: Micros,
        doubt: Doubt,
    ) -> Self {
        let (port, host) = (cache.port.clone(), cache.port.host());
        let process = port.process();
        let (key_of, value_of) = (key.to_owned(), value.to_owned());
        let waiter = Waiter { process, key: key_of, value: value_of, hand_off: None, look: false, forgotten: 0 };
        port.world().clients[host].waiters.push(waiter);
        Self { cache, key, value, ttl_ms, ends, ticket: 0, doubt, _registration: Registration { port, host } }
    }

    /// Returns when the value is stored, or what is true when the wait is over.
    pub(crate) async fn run(mut self) -> Result<SetOutcome, Unavailable> {
        loop {
            self.subscribe().await?;
            let interval = match self.enqueue().await? {
                Enqueued::Stored(stored) => return Ok(self.granted(stored)),
                Enqueued::Queued(interval) => interval,
            };
            let hand_off = self.sleep(interval).await;
            // With another attempt of this call under way, the next request marks the value.
            if let Some(stored) = hand_off.and_then(|hand_off| self.lease(&hand_off))
                && self.cache.port.now() > self.doubt.0
            {
                return Ok(self.granted(stored));
            }
            if self.cache.port.now() >= self.ends {
                return self.leave().await;
            }
        }
    }

    /// Makes the server notify this client, unless it does already.
    async fn subscribe(&self) -> Result<(), Unavailable> {
        let host = self.cache.port.host();
        for _ in 0..2 {
            let connection = {
                let world = self.cache.port.world();
                let connection = world.network.connection(host);
                if world.clients[host].subscribed == Some(connection) {
                    return Ok(());
                }
                connection
            };
            if self.cache.exchange(Step::Subscribe, 0).await.is_ok() {
                // If the connection was replaced meanwhile, it is not known which one is subscribed.
                let mut world = self.cache.port.world();
                let current = world.network.is_current(host, connection);
                world.clients[host].subscribed = current.then_some(connection);
                return Ok(());
            }
        }
        Err(Unavailable)
    }

    async fn enqueue(&mut self) -> Result<Enqueued, Unavailable> {
        let host = self.cache.port.host();
        let process = self.cache.port.process();
        let report = {
            let mut world = self.cache.port.world();
            if let Some(waiter) = world.clients[host].waiter(process) {
                waiter.look = false;
            }
            world.clients[host].is_reporter(process)
        };
        let (key, value, ttl_ms, ticket) = (self.key, self.value, self.ttl_ms, self.ticket);
        let step = |again| {
            let (key, value) = (key.to_owned(), value.to_owned());
            Step::Enqueue { key, value, ttl_ms, ticket, report, again }
        };
        let replied = self.cache.run(&mut self.doubt, step).await?;
        match replied.outcome {
            Outcome::Stored { fence, left } => {
                Ok(match self.cache.stored(&replied, fence, left) {
                    Ok(stored) => Enqueued::Stored(stored),
                    // A lease that is over already is none: the wait goes on.
                    Err(Unavailable) => Enqueued::Queued(MILLISECOND),
                })
            }
            Outcome::Queued(queued) => Ok(Enqueued::Queued(self.queued(host, queued, report))),
            _ => Err(Unavailable),
        }
    }

    /// When to look again.
    fn queued(&mut self, host: usize, queued: Queued, report: bool) -> Micros {
        let mut world = self.cache.port.world();
        let client = &mut world.clients[host];
        if self.ticket != 0 && queued.added {
            client.wake(Some(self.key));
        }
        self.ticket = queued.ticket;
        if !queued.subscribed {
            client.subscribed = None;
            return RESUBSCRIBE_DELAY;
        }
        if !report {
            return if self.cache.bugs.trusts_messages_to_arrive { Micros::MAX / 2 } else { LOOK_INTERVAL };
        }
        // Only the head reports as soon as the lock has expired.
        let stagger = MILLISECOND + 20 * MILLISECOND * queued.ahead;
        queued.left.map_or(REPORT_INTERVAL, |left| REPORT_INTERVAL.min(left + stagger))
    }

    /// Sleeps until there is something to do. Returns what a message told of.
    async fn sleep(&self, interval: Micros) -> Option<HandOff> {
        let port = &self.cache.port;
        let until = (port.now() + interval).min(self.ends);
        let slept = port.sleep_until_woken(until).await;
        let host = port.host();
        let mut world = port.world();
        if let Some(id) = world.processes[port.process()].call.as_ref().map(|call| call.id) {
            world.ledger.calls[id].slept += slept;
        }
        world.clients[host].waiter(port.process())?.hand_off.take()
    }

    /// A lease that was handed off, unless it is over already or the server's clock was set forward: then the wait goes on.
    fn lease(&self, hand_off: &HandOff) -> Option<Stored> {
        let host = self.cache.port.host();
        let world = self.cache.port.world();
        let (now, clock) = (world.now, world.clients[host].clock?);
        let since = match clock.instant_of(hand_off.time, now) {
            None if self.cache.bugs.trusts_any_clock => now,
            since => since?,
        };
        let since = if self.cache.bugs.counts_from_the_reply { now } else { since };
        let deadline = since + self.ttl_ms * MILLISECOND;
        (deadline >= now + MILLISECOND).then_some(Stored { revision: hand_off.fence, deadline })
    }

    /// The last step of a wait.
    async fn leave(mut self) -> Result<SetOutcome, Unavailable> {
        let outcome = self.cache.attempt(self.key, self.value, self.ttl_ms, true, &mut self.doubt).await?;
        match outcome {
            SetOutcome::Stored(stored) if self.cache.bugs.drops_a_fresh_grant => {
                let entry = crate::cache::Entry { value: String::new(), revision: stored.revision, left: 0 };
                Ok(SetOutcome::Occupied(entry))
            }
            SetOutcome::Stored(stored) => Ok(self.granted(stored)),
            occupied => Ok(occupied),
        }
    }

    /// A message may still tell of the value: it is no longer to be withdrawn.
    fn granted(&self, stored: Stored) -> SetOutcome {
        let host = self.cache.port.host();
        self.cache.port.world().clients[host].answered.insert(self.value.to_owned());
        SetOutcome::Stored(stored)
    }
}

enum Enqueued {
    Stored(Stored),
    /// In the queue; it looks again after this time at the latest.
    Queued(Micros),
}
