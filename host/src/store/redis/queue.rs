//! Waiting in the queue of a lock. `docs/protocol.md` describes the queue.

use std::future::ready;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use redis::RedisResult;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::connection::UNKNOWN;
use super::keys::{Keys, SEPARATOR};
use super::pubsub::{HandOff, Place, Subscriber};
use super::reply::{Reply, malformed};
use super::script::{Invocation, Mark, Script, script};
use super::{Redis, SetReply, millis};
use crate::store::{CacheError, Change, ErrorKind, SetOutcome, Stored, outage};
use crate::time::{YEAR, after, now};

pub(super) static ENQUEUE: LazyLock<Script> = script!(Grants, "time", "value", "fence", "queue", "final", "enqueue");

/// How long a queue is kept after the last request of a waiter, and a client's key after its last report.
const KEEP_QUEUE: Duration = Duration::from_secs(10);
const KEEP_CLIENT: Duration = Duration::from_secs(6);
/// The longest interval between two reports.
const REPORT_INTERVAL: Duration = Duration::from_secs(2);
/// How long after the end of a lease the head of the queue reports.
const EXPIRY_DELAY: Duration = Duration::from_millis(1);
/// The shortest interval at which a waiter looks that does not report.
const LOOK_INTERVAL: Duration = Duration::from_secs(6);
/// How long to wait before an unconfirmed lock is requested again.
const CONFIRM_DELAY: Duration = Duration::from_millis(100);
/// The value in the queue entry of a caller that only watches. All watchers of a client share one entry, so abandoned entries do not pile up.
const WATCH: &str = "watch";
/// The same for a caller that listens for changes, and its ticket, which makes it the head of the queue.
const LISTEN: &str = "listen";
const LISTENER_TICKET: u64 = 1;
/// How often a waiter tries again whose server is away.
const OUTAGE_INTERVAL: Duration = Duration::from_millis(250);

/// A caller in a queue.
struct Waiter<'a> {
    redis: &'a Redis,
    keys: &'a Keys<'a>,
    value: &'a str,
    ttl: Duration,
    channel: &'a str,
    entry: &'a str,
    subscriber: Subscriber<'a>,
    /// 0 until the server has given one.
    ticket: u64,
    /// Whether an earlier copy of a request may still be under way.
    retried: bool,
    ends: Instant,
}

/// What became of the requests with which a waiter enters the queue.
enum Entered {
    /// The first attempt was sufficient.
    Answered(SetOutcome),
    Stored(Stored),
    Queued(Duration),
}

enum Enqueued {
    Stored(Stored),
    /// In the queue; the next request is due after this time at the latest.
    Queued(Duration),
    /// The key is free, for one that only watches.
    Free,
}

impl Redis {
    /// Stores the value when its turn comes, or answers what is under the key when the wait is over.
    pub(super) async fn wait_in_queue(
        &self,
        name: &str,
        value: &str,
        ttl: Duration,
        wait: Duration,
    ) -> Result<SetOutcome, CacheError> {
        let (ends, keys) = (now() + wait, self.keys(name));
        let channel = keys.channel(self.connection.client_id());
        let entry = [self.connection.client_id(), &millis(ttl), value].join(&SEPARATOR.to_string());
        let place = Place { channel: &channel, queue: &keys.queue, name, value, waits: true, entry: &entry };
        let subscriber = self.subscriber(place);
        let (keys, channel, entry) = (&keys, &channel[..], &entry[..]);
        Waiter { redis: self, keys, value, ttl, channel, entry, subscriber, ticket: 0, retried: false, ends }
            .wait()
            .await
    }

    /// Returns when the key is free, or may be, or when `wait` is over.
    pub(super) async fn watch_key(&self, name: &str, wait: Duration) -> Result<(), CacheError> {
        let (ends, keys) = (now() + wait, self.keys(name));
        let channel = keys.channel(self.connection.client_id());
        let entry = [self.connection.client_id(), "0", WATCH].join(&SEPARATOR.to_string());
        let place = Place { channel: &channel, queue: &keys.queue, name, value: WATCH, waits: false, entry: &entry };
        let subscriber = self.subscriber(place);
        let (keys, channel, entry, value) = (&keys, &channel[..], &entry[..], WATCH);
        let ttl = Duration::ZERO;
        Waiter { redis: self, keys, value, ttl, channel, entry, subscriber, ticket: 0, retried: false, ends }
            .watch()
            .await
    }

    /// Begins to listen for changes of the key: the server tells before it gives the key to another value, or frees it.
    pub(super) async fn listen_for_changes(&self, name: &str) -> Result<Change, CacheError> {
        let (redis, name, (listens, mut begins)) = (self.clone(), name.to_owned(), oneshot::channel());
        let mut change: Change = Box::pin(async move {
            let keys = redis.keys(&name);
            let channel = keys.channel(redis.connection.client_id());
            let entry = [redis.connection.client_id(), "0", LISTEN].join(&SEPARATOR.to_string());
            let place = Place {
                channel: &channel,
                queue: &keys.queue,
                name: &name,
                value: LISTEN,
                waits: false,
                entry: &entry,
            };
            let (subscriber, ends) = (redis.subscriber(place), after(now(), YEAR));
            let (redis, keys, channel, entry, value) = (&redis, &keys, &channel[..], &entry[..], LISTEN);
            let (ttl, ticket, retried) = (Duration::ZERO, LISTENER_TICKET, false);
            Waiter { redis, keys, value, ttl, channel, entry, subscriber, ticket, retried, ends }.listen(listens).await;
        });
        tokio::select! {
            biased;
            // It has told before why it ended, and must not be polled again.
            () = &mut change => begins.await.unwrap_or(Ok(())).map(|()| Box::pin(ready(())) as Change),
            begun = &mut begins => begun.unwrap_or(Ok(())).map(|()| change),
        }
    }

    pub(super) fn subscriber<'a>(&self, place: Place<'a>) -> Subscriber<'a> {
        let connection = self.connection.clone();
        let runtime = tokio::runtime::Handle::current();
        self.connection.subscriptions().subscribe(place, move |channel| {
            runtime.spawn(async move { connection.unsubscribe_if_idle(&channel).await });
        })
    }
}

impl Waiter<'_> {
    async fn wait(mut self) -> Result<SetOutcome, CacheError> {
        loop {
            let interval = match self.enter().await {
                Ok(Entered::Answered(outcome)) => return Ok(outcome),
                Ok(Entered::Stored(stored)) => return self.granted(stored).await,
                Ok(Entered::Queued(interval)) => {
                    outage::outlasted(None);
                    interval
                }
                Err(error) if self.outlasts(&error) => {
                    outage::outlasted(Some(&error));
                    // A copy of the request may come late, after the lock was granted and released.
                    self.retried = true;
                    OUTAGE_INTERVAL
                }
                Err(error) => return self.left_with(Err(error)),
            };
            if let Some(stored) = self.handed_over(interval).await {
                return self.granted(stored).await;
            }
            if self.left().is_zero() {
                return self.leave().await;
            }
        }
    }

    /// Makes sure that the server notifies this client, and that it has the entry.
    async fn enter(&mut self) -> Result<Entered, CacheError> {
        if let Some(outcome) = self.subscribe(self.ticket == 0).await? {
            return Ok(Entered::Answered(outcome));
        }
        self.subscriber.set_queued(true);
        // The first report of another waiter may come later than this request: without one, the server takes the client for one that is stopped.
        let report = self.subscriber.is_reporter() || self.subscriber.next_report().is_none();
        match self.enqueue(report).await? {
            Enqueued::Stored(stored) => Ok(Entered::Stored(stored)),
            Enqueued::Queued(interval) => Ok(Entered::Queued(interval)),
            Enqueued::Free => Err(self.redis.translate(malformed())),
        }
    }

    /// Whether the waiter tries again after an error: a server that it was queued on may come back while it waits.
    fn outlasts(&self, error: &CacheError) -> bool {
        self.ticket != 0 && error.kind() == ErrorKind::Unavailable && !self.left().is_zero()
    }

    /// Waits for a hand-off until the next request is due.
    async fn handed_over(&self, interval: Duration) -> Option<Stored> {
        let mut due = now() + interval.min(self.left());
        loop {
            let woken = timeout(due.saturating_duration_since(now()), self.subscriber.woken()).await;
            if let Some(hand_off) = self.subscriber.take_hand_off() {
                return self.stored(hand_off);
            }
            if woken.is_err() || self.subscriber.take_must_confirm() {
                return None;
            }
            // This waiter has become the reporter. If its predecessor never reported, the report is due now.
            due = due.min(self.subscriber.next_report()?);
        }
    }

    async fn watch(mut self) -> Result<(), CacheError> {
        while !self.left().is_zero() {
            _ = self.subscribe(false).await?;
            let Enqueued::Queued(interval) = self.enqueue(true).await? else { break };
            if timeout(interval.min(self.left()), self.subscriber.woken()).await.is_ok() {
                break;
            }
        }
        Ok(())
    }

    /// Returns when the server has told of a change, or fails.
    async fn listen(mut self, listens: oneshot::Sender<Result<(), CacheError>>) {
        let mut listens = Some(listens);
        loop {
            let entered = match self.subscribe(false).await {
                Ok(_) => self.enqueue(true).await,
                Err(error) => Err(error),
            };
            let (began, interval) = match entered {
                Ok(Enqueued::Queued(interval)) => (Ok(()), Some(interval)),
                Ok(Enqueued::Stored(_) | Enqueued::Free) => (Ok(()), None),
                Err(error) => (Err(error), None),
            };
            if let Some(listens) = listens.take() {
                // It fails if the listener is gone.
                _ = listens.send(began);
            }
            let Some(interval) = interval else { return };
            if timeout(interval, self.subscriber.woken()).await.is_ok() {
                return;
            }
        }
    }

    /// Makes the server notify this client, unless it does already. Before that, an attempt may spare the subscription; it overtakes no
    /// one. The lock keeps callers of this client in their order meanwhile.
    async fn subscribe(&mut self, attempt: bool) -> Result<Option<SetOutcome>, CacheError> {
        let connection = &self.redis.connection;
        let mut subscribed = self.subscriber.lock().lock().await;
        let before = connection.generation();
        if before.is_some() && *subscribed == before {
            return Ok(None);
        }
        if attempt {
            let attempt = self.redis.set_confirmed(self.keys, self.value, self.ttl, None, Mark::Never);
            let SetReply { outcome, confirmed, retried } = attempt.await?;
            self.retried |= retried;
            confirmed?;
            match outcome {
                SetOutcome::Stored(_) if retried => return self.set().await.map(Some),
                SetOutcome::Stored(_) => return Ok(Some(outcome)),
                SetOutcome::Occupied(_) => {}
            }
        }
        connection.subscribe_now(&mut subscribed, self.channel).await?;
        Ok(None)
    }

    async fn enqueue(&mut self, report: bool) -> Result<Enqueued, CacheError> {
        let Keys { lock, queue, .. } = self.keys;
        let (fence, grace, withdrawn) = (self.keys.fence(), self.keys.grace(), self.keys.withdrawn(self.value));
        let client = self.keys.client(self.redis.connection.client_id());
        let keys = [lock, &fence, queue, &grace, &withdrawn[..], &client];
        let keys = if report { &keys[..] } else { &keys[..5] };
        let (ttl, ticket) = (millis(self.ttl), self.ticket.to_string());
        let (keep_queue, keep_client) = (millis(KEEP_QUEUE), millis(KEEP_CLIENT));
        let args = [self.value, &ttl, self.entry, &ticket, &keep_queue, &keep_client, self.channel];
        let enqueue = Invocation { script: &ENQUEUE, slot: self.keys.slot, keys, args: &args, mark: self.mark() };
        let mut reply = self.redis.connection.run(&enqueue).await?;
        self.retried |= reply.retried;
        match &reply.outcome[..] {
            "queued" => {
                let (ticket, added) = self.redis.parsed((|| RedisResult::Ok((reply.number()?, reply.number()?)))())?;
                // A lock that was handed over before, and revoked before this request arrived, is not this waiter's any more.
                self.subscriber.forget_hand_off_before(reply.reading.micros);
                // One that only watches is always added.
                let missing = self.ticket != 0 && added == 1 && !self.ttl.is_zero();
                self.ticket = ticket;
                if !report {
                    return Ok(Enqueued::Queued(self.look_interval()));
                }
                if missing {
                    self.subscriber.wake_others(None);
                }
                self.reported(&mut reply).await.map(Enqueued::Queued)
            }
            "free" => Ok(Enqueued::Free),
            "withdrawn" if self.ticket != 0 => Ok(Enqueued::Stored(lost(0))),
            _ => match self.redis.set_outcome(&mut reply, self.ttl)? {
                SetOutcome::Stored(stored) => Ok(Enqueued::Stored(stored)),
                SetOutcome::Occupied(_) => Err(self.redis.translate(malformed())),
            },
        }
    }

    /// When a waiter that does not report looks whether a message was lost: the more there are, the more rarely.
    fn look_interval(&self) -> Duration {
        let waiters = u32::try_from(self.subscriber.waiters()).unwrap_or(u32::MAX);
        LOOK_INTERVAL + Duration::from_millis(5).saturating_mul(waiters)
    }

    /// When the next report is due.
    async fn reported(&self, reply: &mut Reply) -> Result<Duration, CacheError> {
        let fields = (|| RedisResult::Ok((reply.left()?, reply.number()?, reply.number()?, reply.text()?)))();
        let (left, ahead, subscribed, holder) = self.redis.parsed(fields)?;
        // The message about that to another waiter of this client may have been lost.
        self.subscriber.wake_others(Some(&holder));
        if subscribed == 0 {
            // A node of a cluster that took over: it does not know the subscription.
            *self.subscriber.lock().lock().await = Some(UNKNOWN);
            return Ok(self.report_after(CONFIRM_DELAY));
        }
        let ahead = u32::try_from(ahead).unwrap_or(u32::MAX);
        let usual = Duration::from_millis(500)
            .saturating_add(Duration::from_millis(50).saturating_mul(ahead))
            .min(REPORT_INTERVAL);
        // Only the head reports as soon as the lock has expired.
        let stagger = Duration::from_millis(20).saturating_mul(ahead).min(REPORT_INTERVAL) + EXPIRY_DELAY;
        Ok(self.report_after(left.map_or(usual, |left| usual.min(left + stagger))))
    }

    fn report_after(&self, interval: Duration) -> Duration {
        self.subscriber.set_next_report(now() + interval);
        interval
    }

    /// A lease that was handed over. None if the server has to be asked: the lease is over, the message does not say when it began,
    /// or an earlier copy of a request may come late, which the next request makes the server refuse.
    fn stored(&self, hand_off: HandOff) -> Option<Stored> {
        if self.retried {
            return None;
        }
        let now = now();
        let since = self.redis.connection.reading(self.keys.slot)?.instant_of(hand_off.at, now)?;
        let deadline = since.checked_add(self.ttl)?;
        (deadline > now).then_some(Stored { revision: hand_off.fence, deadline })
    }

    /// The waiter has the lock. With `wait_replicas`, it is requested again until they have confirmed it.
    async fn granted(mut self, stored: Stored) -> Result<SetOutcome, CacheError> {
        // The next waiter of this client reports when this lease has expired.
        self.subscriber.report_by(stored.deadline + EXPIRY_DELAY);
        if self.redis.replicas == 0 {
            return self.left_with(Ok(SetOutcome::Stored(stored)));
        }
        let mut lease = stored;
        loop {
            let error = match self.request().await {
                Ok(SetReply { outcome: SetOutcome::Occupied(_), .. }) if !self.left().is_zero() => break,
                Ok(SetReply { outcome, confirmed: Ok(()), .. }) => return self.left_with(Ok(outcome)),
                Ok(SetReply { outcome, confirmed: Err(error), retried }) => {
                    self.retried |= retried;
                    lease = if let SetOutcome::Stored(stored) = outcome { stored } else { lease };
                    error
                }
                Err(error) if error.is_withdrawn() => break,
                Err(error) if error.kind() == ErrorKind::Unavailable => {
                    // A copy of the request may come late.
                    self.retried = true;
                    error
                }
                Err(error) => return self.left_with(Err(error)),
            };
            if self.left() <= CONFIRM_DELAY {
                return self.left_with(Err(error));
            }
            outage::outlasted(Some(&error));
            tokio::time::sleep(CONFIRM_DELAY).await;
            // The mark of a repeated request refuses the value once its lease is over.
            if self.retried && lease.deadline <= now() {
                break;
            }
        }
        Ok(SetOutcome::Stored(lost(lease.revision)))
    }

    /// The last step of a wait.
    async fn leave(self) -> Result<SetOutcome, CacheError> {
        let outcome = match self.set().await {
            Err(error) if error.is_withdrawn() && self.ticket != 0 => Ok(SetOutcome::Stored(lost(0))),
            outcome => outcome,
        };
        self.left_with(outcome)
    }

    fn left_with(mut self, outcome: Result<SetOutcome, CacheError>) -> Result<SetOutcome, CacheError> {
        let outcome = outcome.map_err(|error| self.failed(error));
        // Then it is withdrawn.
        self.subscriber.set_queued(outcome.as_ref().is_err_and(CacheError::may_have_taken_effect));
        outcome
    }

    async fn set(&self) -> Result<SetOutcome, CacheError> {
        let SetReply { outcome, confirmed, .. } = self.request().await?;
        confirmed.map(|()| outcome)
    }

    /// Requests the lock, and removes the entry.
    async fn request(&self) -> Result<SetReply, CacheError> {
        self.redis.set_confirmed(self.keys, self.value, self.ttl, Some(self.entry), self.mark()).await
    }

    fn mark(&self) -> Mark {
        if self.retried { Mark::Always } else { Mark::IfRetried }
    }

    /// An error, after which the value may be stored or queued if an earlier request was sent.
    fn failed(&self, error: CacheError) -> CacheError {
        if self.ticket == 0 && !self.retried { error } else { error.partial() }
    }

    fn left(&self) -> Duration {
        self.ends.saturating_duration_since(now())
    }
}

/// What a waiter had that is gone: its lease ended or was revoked, and the mark of a repeated request refuses its value now. The caller
/// may wait again, with another value.
fn lost(revision: u64) -> Stored {
    Stored { revision, deadline: now() }
}
