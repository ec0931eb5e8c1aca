//! Who of this process listens to which channel.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

#[derive(Default)]
pub(super) struct Wakeups(Mutex<Table>);

#[derive(Default)]
struct Table {
    channels: HashMap<String, Ears>,
    /// Counts the listeners, so that each has a number.
    listeners: u64,
}

/// Those who listen to a channel.
#[derive(Default)]
struct Ears {
    listeners: HashMap<u64, Ear>,
    /// Whether somebody is about to look whether the channel is deserted.
    looked_after: bool,
    gate: Gate,
}

struct Ear {
    /// The value that this listener has in line, if it has.
    value: Option<String>,
    handed: Option<Handed>,
    woken: Arc<Notify>,
}

/// A value in line was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Handed {
    pub(super) revision: u64,
    /// When that was, by the server's clock in microseconds.
    pub(super) at: u64,
}

/// Held while a channel is subscribed to or unsubscribed from, so that the server sees both in the order in which
/// listeners come and go. Within is the number of the connection through which it is subscribed to, if that is known.
pub(super) type Gate = Arc<tokio::sync::Mutex<Option<u64>>>;

/// Listening to a channel; dropping it says so to whoever unsubscribes.
pub(super) struct Listener {
    channel: String,
    number: u64,
    woken: Arc<Notify>,
    gate: Gate,
    wakeups: Arc<Wakeups>,
    on_last: Option<Box<dyn FnOnce(String) + Send + Sync>>,
}

impl Wakeups {
    /// Begins to listen, for a value in line or for the key to go away. `on_last` runs if this turns out to be the last
    /// listener to leave.
    pub(super) fn listen(
        self: &Arc<Self>,
        channel: &str,
        value: Option<&str>,
        on_last: impl FnOnce(String) + Send + Sync + 'static,
    ) -> Listener {
        let mut table = self.table();
        table.listeners += 1;
        let (number, woken) = (table.listeners, Arc::<Notify>::default());
        let ears = table.channels.entry(channel.to_owned()).or_default();
        let ear = Ear { value: value.map(str::to_owned), handed: None, woken: woken.clone() };
        ears.listeners.insert(number, ear);
        let (channel, gate, wakeups) = (channel.to_owned(), ears.gate.clone(), self.clone());
        Listener { channel, number, woken, gate, wakeups, on_last: Some(Box::new(on_last)) }
    }

    /// The gate of a channel that nobody listens to any more, if that is so. Else whoever leaves last sees to it again.
    pub(super) fn deserted(&self, channel: &str) -> Option<Gate> {
        let mut table = self.table();
        let ears = table.channels.get_mut(channel)?;
        ears.looked_after = ears.listeners.is_empty();
        ears.looked_after.then(|| ears.gate.clone())
    }

    /// Forgets a channel if nobody listens to it.
    pub(super) fn forget(&self, channel: &str) {
        let mut table = self.table();
        if table.channels.get(channel).is_some_and(|ears| ears.listeners.is_empty()) {
            table.channels.remove(channel);
        }
    }

    /// Passes on what was published: to the one whose value was stored, or else to everybody.
    pub(super) fn wake(&self, channel: &[u8], message: &[u8]) {
        let (Ok(channel), Ok(message)) = (std::str::from_utf8(channel), std::str::from_utf8(message)) else { return };
        let mut table = self.table();
        let Some(ears) = table.channels.get_mut(channel) else { return };
        let Some((handed, value)) = Handed::parse(message) else { return ears.wake_all() };
        for ear in ears.listeners.values_mut().filter(|ear| ear.value.as_deref() == Some(value)) {
            ear.handed = Some(handed);
            ear.woken.notify_one();
        }
    }

    pub(super) fn wake_all(&self) {
        self.table().channels.values().for_each(Ears::wake_all);
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ears {
    fn wake_all(&self) {
        self.listeners.values().for_each(|ear| ear.woken.notify_one());
    }
}

impl Handed {
    /// Revision, time and value.
    fn parse(message: &str) -> Option<(Self, &str)> {
        let (revision, rest) = message.split_once(' ')?;
        let (at, value) = rest.split_once(' ')?;
        Some((Self { revision: revision.parse().ok()?, at: at.parse().ok()? }, value))
    }
}

impl Listener {
    pub(super) fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Resolves at the next wake-up after the last one, or at once if there was one since.
    pub(super) async fn woken(&self) {
        self.woken.notified().await;
    }

    /// What was heard of the listener's value since this was asked last.
    pub(super) fn handed(&self) -> Option<Handed> {
        self.wakeups.table().channels.get_mut(&self.channel)?.listeners.get_mut(&self.number)?.handed.take()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut table = self.wakeups.table();
        let Some(ears) = table.channels.get_mut(&self.channel) else { return };
        ears.listeners.remove(&self.number);
        let last = ears.listeners.is_empty() && !ears.looked_after;
        ears.looked_after |= last;
        drop(table);
        if let (true, Some(on_last)) = (last, self.on_last.take()) {
            on_last(std::mem::take(&mut self.channel));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_wake_up_reaches_those_who_listened_before_it() {
        let wakeups = Arc::<Wakeups>::default();
        let listener = wakeups.listen("key", None, |_| {});
        wakeups.wake(b"other", b"");
        wakeups.wake(b"key", b"");
        listener.woken().await;
    }

    #[tokio::test]
    async fn only_whose_value_was_stored_is_told() {
        let wakeups = Arc::<Wakeups>::default();
        let [first, second] = ["a:1", "a b:2"].map(|value| wakeups.listen("line", Some(value), |_| {}));
        wakeups.wake(b"line", b"7 8 a b:2");
        second.woken().await;
        assert_eq!((first.handed(), second.handed()), (None, Some(Handed { revision: 7, at: 8 })));
    }

    #[test]
    fn only_the_last_to_leave_closes_the_channel() {
        let (wakeups, closed) = (Arc::<Wakeups>::default(), Arc::<AtomicUsize>::default());
        let listen = || {
            let closed = closed.clone();
            wakeups.listen("key", None, move |_| _ = closed.fetch_add(1, Ordering::Relaxed))
        };
        let (first, second) = (listen(), listen());
        drop(first);
        assert_eq!((closed.load(Ordering::Relaxed), wakeups.deserted("key").is_some()), (0, false));
        drop(second);
        assert_eq!((closed.load(Ordering::Relaxed), wakeups.deserted("key").is_some()), (1, true));
        wakeups.forget("key");
        assert!(wakeups.table().channels.is_empty());
    }
}
