//! Who of this process listens to which channel.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

#[derive(Default)]
pub(super) struct Wakeups(Mutex<HashMap<String, Ears>>);

struct Ears {
    listeners: usize,
    /// Whether somebody is about to look whether the channel is deserted.
    looked_after: bool,
    woken: Arc<Notify>,
    gate: Gate,
}

/// Held while a channel is subscribed to or unsubscribed from, so that the server sees both in the order in which
/// listeners come and go. Within is the number of the connection through which it is subscribed to, if that is known.
pub(super) type Gate = Arc<tokio::sync::Mutex<Option<u64>>>;

/// Listening to a channel; dropping it says so to whoever unsubscribes.
pub(super) struct Listener {
    channel: String,
    wakeups: Arc<Wakeups>,
    on_last: Option<Box<dyn FnOnce(String) + Send>>,
}

impl Wakeups {
    /// Begins to listen. `on_last` runs if this turns out to be the last listener to leave.
    pub(super) fn listen(self: &Arc<Self>, channel: &str, on_last: impl FnOnce(String) + Send + 'static) -> Listener {
        self.table().entry(channel.to_owned()).or_insert_with(Ears::new).listeners += 1;
        Listener { channel: channel.to_owned(), wakeups: self.clone(), on_last: Some(Box::new(on_last)) }
    }

    /// The gate of a channel that nobody listens to any more, if that is so. Else whoever leaves last sees to it again.
    pub(super) fn deserted(&self, channel: &str) -> Option<Gate> {
        let mut table = self.table();
        let ears = table.get_mut(channel)?;
        ears.looked_after = ears.listeners == 0;
        ears.looked_after.then(|| ears.gate.clone())
    }

    /// Forgets a channel if nobody listens to it.
    pub(super) fn forget(&self, channel: &str) {
        let mut table = self.table();
        if table.get(channel).is_some_and(|ears| ears.listeners == 0) {
            table.remove(channel);
        }
    }

    pub(super) fn wake(&self, channel: &[u8]) {
        let ears = std::str::from_utf8(channel).ok().and_then(|channel| Some(self.table().get(channel)?.woken.clone()));
        if let Some(woken) = ears {
            woken.notify_waiters();
        }
    }

    pub(super) fn wake_all(&self) {
        self.table().values().for_each(|ears| ears.woken.notify_waiters());
    }

    fn table(&self) -> MutexGuard<'_, HashMap<String, Ears>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ears {
    fn new() -> Self {
        Self { listeners: 0, looked_after: false, woken: Arc::default(), gate: Arc::default() }
    }
}

impl Listener {
    /// Resolves at the next wake-up after this call, even if it is polled only later.
    pub(super) fn next(&self) -> (OwnedNotified, Gate) {
        let mut table = self.wakeups.table();
        let ears = table.entry(self.channel.clone()).or_insert_with(Ears::new);
        (ears.woken.clone().notified_owned(), ears.gate.clone())
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut table = self.wakeups.table();
        let Some(ears) = table.get_mut(&self.channel) else { return };
        ears.listeners -= 1;
        let last = ears.listeners == 0 && !ears.looked_after;
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
        let listener = wakeups.listen("key", |_| {});
        let (woken, _) = listener.next();
        wakeups.wake(b"other");
        wakeups.wake(b"key");
        woken.await;
    }

    #[test]
    fn only_the_last_to_leave_closes_the_channel() {
        let (wakeups, closed) = (Arc::<Wakeups>::default(), Arc::<AtomicUsize>::default());
        let listen = || {
            let closed = closed.clone();
            wakeups.listen("key", move |_| _ = closed.fetch_add(1, Ordering::Relaxed))
        };
        let (first, second) = (listen(), listen());
        drop(first);
        assert_eq!((closed.load(Ordering::Relaxed), wakeups.deserted("key").is_some()), (0, false));
        drop(second);
        assert_eq!((closed.load(Ordering::Relaxed), wakeups.deserted("key").is_some()), (1, true));
        wakeups.forget("key");
        assert!(wakeups.table().is_empty());
    }
}
