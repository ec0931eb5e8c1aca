//! Which callers of this process are notified on which channel.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::keys::SEPARATOR;
use crate::time::now;

/// How long a queue entry is kept whose caller went away and that was not withdrawn. The server drops it when it comes to it.
const KEEP_ABANDONED: Duration = Duration::from_secs(60);
const LEAST_ABANDONED: usize = 64;

#[derive(Default)]
pub(super) struct Subscriptions(Mutex<Table>);

#[derive(Default)]
struct Table {
    channels: BTreeMap<String, Channel>,
    /// Queue entries whose callers went away, and since when: withdrawing a value takes its entry. By queue and value.
    abandoned: HashMap<(String, String), (String, Instant)>,
    /// When there are so many, old ones are forgotten.
    most_abandoned: usize,
    /// Counts the subscribers, so that each has a number, and earlier ones lower numbers.
    last_number: u64,
}

#[derive(Default)]
struct Channel {
    /// The subscribers by the names of the locks that they wait for.
    queues: BTreeMap<String, Queue>,
    /// Whether a task is about to unsubscribe if the channel is idle.
    unsubscribe_pending: bool,
    lock: SubscriptionLock,
}

/// The waiters of this process for one lock.
#[derive(Default)]
struct Queue {
    waiters: BTreeMap<u64, Waiter>,
    /// When the next report is due, whichever waiter is the reporter then.
    next_report: Option<Instant>,
}

struct Waiter {
    value: String,
    waits: bool,
    hand_off: Option<HandOff>,
    /// Whether a message may have been lost, so that the waiter has to ask the server.
    must_confirm: bool,
    notify: Arc<Notify>,
}

/// The server stored the value of a waiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HandOff {
    pub(super) fence: u64,
    /// When that was, by the server's clock in microseconds.
    pub(super) at: u64,
}

/// Held while a channel is subscribed to or unsubscribed from, so that the server sees both in the order in which subscribers come
/// and go. It contains the generation of the connection that is subscribed, if that is known.
pub(super) type SubscriptionLock = Arc<tokio::sync::Mutex<Option<u64>>>;

/// What a caller waits for.
pub(super) struct Place<'a> {
    pub(super) channel: &'a str,
    pub(super) queue: &'a str,
    pub(super) name: &'a str,
    pub(super) value: &'a str,
    /// Whether it waits for the lock. Others are only told.
    pub(super) waits: bool,
    /// The entry in the server's queue.
    pub(super) entry: &'a str,
}

/// A caller that is notified. Dropping it before the entry left the queue keeps the entry for a withdrawal.
pub(super) struct Subscriber<'a> {
    place: Place<'a>,
    number: u64,
    notify: Arc<Notify>,
    lock: SubscriptionLock,
    subscriptions: Arc<Subscriptions>,
    queued: bool,
    on_last: Option<Box<dyn FnOnce(String) + Send + Sync>>,
}

impl Subscriptions {
    /// Starts to notify a caller. `on_last` runs when the channel has become idle.
    pub(super) fn subscribe<'a>(
        self: &Arc<Self>,
        place: Place<'a>,
        on_last: impl FnOnce(String) + Send + Sync + 'static,
    ) -> Subscriber<'a> {
        let mut table = self.table();
        table.last_number += 1;
        let (number, notify) = (table.last_number, Arc::<Notify>::default());
        let channel = table.channels.entry(place.channel.to_owned()).or_default();
        let (value, waits, notify_one) = (place.value.to_owned(), place.waits, notify.clone());
        let waiter = Waiter { value, waits, hand_off: None, must_confirm: false, notify: notify_one };
        channel.queues.entry(place.name.to_owned()).or_default().waiters.insert(number, waiter);
        let lock = channel.lock.clone();
        drop(table);
        Subscriber {
            place,
            number,
            notify,
            lock,
            subscriptions: self.clone(),
            queued: false,
            on_last: Some(Box::new(on_last)),
        }
    }

    /// The channels and the abandoned entries.
    pub(super) fn remembered(&self) -> Vec<String> {
        let table = self.table();
        let entries = table.abandoned.values().map(|(entry, _)| format!("the entry {entry:?}"));
        table.channels.keys().map(|channel| format!("the channel {channel:?}")).chain(entries).collect()
    }

    /// The entry of a value whose caller went away, until [`Subscriptions::forget_entry`].
    pub(super) fn abandoned_entry(&self, queue: &str, value: &str) -> Option<String> {
        self.table().abandoned.get(&(queue.to_owned(), value.to_owned())).map(|(entry, _)| entry.clone())
    }

    pub(super) fn forget_entry(&self, queue: &str, value: &str) {
        self.table().abandoned.remove(&(queue.to_owned(), value.to_owned()));
    }

    /// The lock of a channel without subscribers. If it has some, the last of them checks again.
    pub(super) fn idle_channel(&self, channel: &str) -> Option<SubscriptionLock> {
        let mut table = self.table();
        let channel = table.channels.get_mut(channel)?;
        channel.unsubscribe_pending = channel.queues.is_empty();
        channel.unsubscribe_pending.then(|| channel.lock.clone())
    }

    /// The channel was unsubscribed from. Forgets it, unless it has subscribers again: the last of them unsubscribes once more.
    pub(super) fn unsubscribed(&self, name: &str) {
        let mut table = self.table();
        let Some(channel) = table.channels.get_mut(name) else { return };
        channel.unsubscribe_pending = false;
        if channel.queues.is_empty() {
            table.channels.remove(name);
        }
    }

    /// Passes on a message: `NAME␟VALUE␟FENCE␟TIME` to the waiter whose value was stored, `NAME␟VALUE` to one that watches, and
    /// `NAME` to the reporter of the queue.
    pub(super) fn on_message(&self, channel: &[u8], message: &[u8]) {
        let (Ok(channel), Ok(message)) = (std::str::from_utf8(channel), std::str::from_utf8(message)) else { return };
        let mut fields = message.split(SEPARATOR);
        let (name, value, hand_off) = (fields.next().unwrap_or_default(), fields.next(), HandOff::parse(fields));
        let mut table = self.table();
        let Some(queue) = table.channels.get_mut(channel).and_then(|channel| channel.queues.get_mut(name)) else {
            return;
        };
        let Some(value) = value else {
            queue.reporter().into_iter().for_each(Waiter::wake);
            return;
        };
        for waiter in queue.waiters.values_mut().filter(|waiter| waiter.value == value) {
            waiter.hand_off = hand_off;
            waiter.wake();
        }
    }

    /// Lets all waiters confirm their entries: messages may have been lost.
    pub(super) fn wake_all(&self) {
        let mut table = self.table();
        let queues = table.channels.values_mut().flat_map(|channel| channel.queues.values_mut());
        queues.flat_map(|queue| queue.waiters.values_mut()).for_each(Waiter::wake);
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// The waiter that came first. The reports of one that only watches serve no queue.
    fn reporter(&mut self) -> Option<&mut Waiter> {
        self.waiters.values_mut().find(|waiter| waiter.waits)
    }

    fn is_reporter(&self, number: u64) -> bool {
        self.waiters.iter().find(|(_, waiter)| waiter.waits).is_some_and(|(first, _)| *first == number)
    }
}

impl Waiter {
    /// Lets the waiter ask the server, unless it was told of a hand-off.
    fn wake(&mut self) {
        self.must_confirm = true;
        self.notify.notify_one();
    }
}

impl HandOff {
    /// What follows the value in a message, unless the message only notifies.
    fn parse<'a>(mut fields: impl Iterator<Item = &'a str>) -> Option<Self> {
        Some(Self { fence: fields.next()?.parse().ok()?, at: fields.next()?.parse().ok()? })
    }
}

impl Subscriber<'_> {
    pub(super) fn lock(&self) -> &SubscriptionLock {
        &self.lock
    }

    /// How many callers of this process wait for the same lock.
    pub(super) fn waiters(&self) -> usize {
        self.with_queue(|queue| queue.waiters.len()).unwrap_or_default()
    }

    /// Notifies the other waiters of the queue: all, or the one whose value this is.
    pub(super) fn wake_others(&self, value: Option<&str>) {
        self.with_queue(|queue| {
            let others = queue.waiters.iter_mut().filter(|(number, _)| **number != self.number);
            let others = others.map(|(_, waiter)| waiter);
            others.filter(|waiter| value.is_none_or(|value| waiter.value == value)).for_each(Waiter::wake);
        });
    }

    /// Whether this waiter reports for all of its queue in this process.
    pub(super) fn is_reporter(&self) -> bool {
        self.with_queue(|queue| queue.is_reporter(self.number)).unwrap_or_default()
    }

    /// When the next report is due; none if there was no report yet.
    pub(super) fn next_report(&self) -> Option<Instant> {
        self.with_queue(|queue| queue.next_report).flatten()
    }

    /// Sets when the next report of a waiter is due.
    pub(super) fn set_next_report(&self, instant: Instant) {
        if self.place.waits {
            self.with_queue(|queue| queue.next_report = Some(instant));
        }
    }

    /// The next report is due at this instant at the latest.
    pub(super) fn report_by(&self, instant: Instant) {
        self.with_queue(|queue| queue.next_report = queue.next_report.map(|next| next.min(instant)));
    }

    /// Whether a message may have been lost since the last call.
    pub(super) fn take_must_confirm(&self) -> bool {
        self.with_queue(|queue| Some(std::mem::take(&mut queue.waiters.get_mut(&self.number)?.must_confirm)))
            .flatten()
            .unwrap_or_default()
    }

    /// Resolves at the next notification after the last one, or at once if there was one since. The waiter may also have become the
    /// reporter.
    pub(super) async fn woken(&self) {
        self.notify.notified().await;
    }

    /// The hand-off of the last message.
    pub(super) fn take_hand_off(&self) -> Option<HandOff> {
        self.with_queue(|queue| queue.waiters.get_mut(&self.number)?.hand_off.take()).flatten()
    }

    /// Forgets a hand-off that was earlier, by the server's clock: the server has said since that this waiter waits.
    pub(super) fn forget_hand_off_before(&self, micros: u64) {
        self.with_queue(|queue| {
            let waiter = queue.waiters.get_mut(&self.number);
            waiter.map(|waiter| waiter.hand_off = waiter.hand_off.filter(|hand_off| hand_off.at >= micros))
        });
    }

    fn with_queue<T>(&self, f: impl FnOnce(&mut Queue) -> T) -> Option<T> {
        let mut table = self.subscriptions.table();
        Some(f(table.channels.get_mut(self.place.channel)?.queues.get_mut(self.place.name)?))
    }

    /// The server may have an entry for this waiter from here on, or has none.
    pub(super) fn set_queued(&mut self, queued: bool) {
        self.queued = queued;
    }
}

impl Table {
    /// Keeps an entry for its withdrawal. A server that stays away is asked no more after a while.
    fn abandon(&mut self, value: (String, String), entry: String) {
        let now = now();
        if self.abandoned.len() >= self.most_abandoned {
            self.abandoned.retain(|_, (_, since)| now.saturating_duration_since(*since) < KEEP_ABANDONED);
            self.most_abandoned = 2 * self.abandoned.len() + LEAST_ABANDONED;
        }
        self.abandoned.insert(value, (entry, now));
    }
}

impl Drop for Subscriber<'_> {
    fn drop(&mut self) {
        let Place { channel: name_of_channel, queue: key, name, value, entry, .. } = self.place;
        let mut table = self.subscriptions.table();
        if self.queued {
            table.abandon((key.to_owned(), value.to_owned()), entry.to_owned());
        }
        let Some(channel) = table.channels.get_mut(name_of_channel) else { return };
        if let Some(queue) = channel.queues.get_mut(name) {
            let reported = queue.is_reporter(self.number);
            queue.waiters.remove(&self.number);
            if let (true, Some(next)) = (reported, queue.reporter()) {
                next.notify.notify_one();
            }
            if queue.waiters.is_empty() {
                channel.queues.remove(name);
            }
        }
        // Without a subscription there is nothing to end.
        if channel.queues.is_empty() && channel.lock.try_lock().is_ok_and(|subscribed| subscribed.is_none()) {
            table.channels.remove(name_of_channel);
            return;
        }
        let last = channel.queues.is_empty() && !channel.unsubscribe_pending;
        channel.unsubscribe_pending |= last;
        drop(table);
        if let (true, Some(on_last)) = (last, self.on_last.take()) {
            on_last(name_of_channel.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::time::now;

    fn place<'a>(name: &'a str, value: &'a str) -> Place<'a> {
        Place { channel: "wake", queue: "queue", name, value, waits: value != "watch", entry: "entry" }
    }

    #[tokio::test]
    async fn only_the_waiter_whose_value_was_stored_is_told() {
        let subscriptions = Arc::<Subscriptions>::default();
        let [first, second] = ["a:1", "a b:2"].map(|value| subscriptions.subscribe(place("job", value), |_| {}));
        subscriptions.on_message(b"wake", "job\u{1f}a b:2\u{1f}7\u{1f}8".as_bytes());
        second.woken().await;
        assert_eq!((first.take_hand_off(), second.take_hand_off()), (None, Some(HandOff { fence: 7, at: 8 })));
    }

    #[tokio::test]
    async fn a_hand_off_before_the_last_reply_is_forgotten() {
        let subscriptions = Arc::<Subscriptions>::default();
        let waiter = subscriptions.subscribe(place("job", "1"), |_| {});
        let hand_over = |at: u64| subscriptions.on_message(b"wake", format!("job\u{1f}1\u{1f}7\u{1f}{at}").as_bytes());
        hand_over(8);
        waiter.forget_hand_off_before(9);
        assert_eq!(waiter.take_hand_off(), None);
        hand_over(9);
        waiter.forget_hand_off_before(9);
        assert_eq!(waiter.take_hand_off(), Some(HandOff { fence: 7, at: 9 }));
    }

    #[tokio::test]
    async fn a_waiter_that_becomes_the_reporter_waits_until_the_report_is_due() {
        let subscriptions = Arc::<Subscriptions>::default();
        let [first, second] = ["1", "2"].map(|value| subscriptions.subscribe(place("job", value), |_| {}));
        let (now, later) = (now(), now() + std::time::Duration::from_secs(1));
        first.report_by(now);
        assert_eq!(second.next_report(), None);
        first.set_next_report(later);
        assert_eq!(second.next_report(), Some(later));
        first.report_by(now);
        drop(first);
        second.woken().await;
        assert_eq!((second.take_must_confirm(), second.next_report()), (false, Some(now)));
    }

    #[tokio::test]
    async fn a_message_without_a_value_wakes_the_reporter_which_is_the_first_that_is_left() {
        let subscriptions = Arc::<Subscriptions>::default();
        let [first, second] = ["1", "2"].map(|value| subscriptions.subscribe(place("job", value), |_| {}));
        subscriptions.on_message(b"wake", b"job");
        first.woken().await;
        assert!(first.take_must_confirm() && !first.take_must_confirm());
        assert!(first.is_reporter() && !second.is_reporter());
        drop(first);
        second.woken().await;
        assert!(second.is_reporter());
    }

    #[test]
    fn one_that_only_watches_is_never_the_reporter() {
        let subscriptions = Arc::<Subscriptions>::default();
        let [watcher, waiter] = ["watch", "1"].map(|value| subscriptions.subscribe(place("job", value), |_| {}));
        assert!(!watcher.is_reporter() && waiter.is_reporter());
        watcher.set_next_report(now());
        assert_eq!(waiter.next_report(), None);
    }

    #[test]
    fn only_the_last_subscriber_to_leave_makes_the_channel_idle() {
        let (subscriptions, idle) = (Arc::<Subscriptions>::default(), Arc::<AtomicUsize>::default());
        let subscribe = |name| {
            let idle = idle.clone();
            subscriptions.subscribe(place(name, "value"), move |_| _ = idle.fetch_add(1, Ordering::Relaxed))
        };
        let (first, second) = (subscribe("a"), subscribe("b"));
        *first.lock().try_lock().unwrap() = Some(1);
        drop(first);
        assert_eq!((idle.load(Ordering::Relaxed), subscriptions.idle_channel("wake").is_some()), (0, false));
        drop(second);
        assert_eq!((idle.load(Ordering::Relaxed), subscriptions.idle_channel("wake").is_some()), (1, true));
        subscriptions.unsubscribed("wake");
        assert!(subscriptions.table().channels.is_empty());
    }

    #[test]
    fn a_subscriber_that_comes_while_the_channel_is_unsubscribed_from_unsubscribes_again_when_it_leaves() {
        let (subscriptions, idle) = (Arc::<Subscriptions>::default(), Arc::<AtomicUsize>::default());
        let subscribe = || {
            let idle = idle.clone();
            subscriptions.subscribe(place("job", "value"), move |_| _ = idle.fetch_add(1, Ordering::Relaxed))
        };
        let leave = |subscriber: Subscriber<'_>| {
            *subscriber.lock().try_lock().unwrap() = Some(1);
            drop(subscriber);
        };
        leave(subscribe());
        assert!(subscriptions.idle_channel("wake").is_some());
        let second = subscribe();
        subscriptions.unsubscribed("wake");
        leave(second);
        assert_eq!(idle.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn the_entry_of_a_caller_that_went_away_is_known_until_it_is_withdrawn() {
        let subscriptions = Arc::<Subscriptions>::default();
        let mut waiter = subscriptions.subscribe(place("job", "value"), |_| {});
        waiter.set_queued(true);
        drop(waiter);
        assert_eq!(subscriptions.abandoned_entry("queue", "value").as_deref(), Some("entry"));
        subscriptions.forget_entry("queue", "value");
        assert!(subscriptions.table().abandoned.is_empty());
    }
}
