//! One connection that all calls share, made when it is needed and made again when it broke.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::RedisResult;

use super::address::Address;
use super::client::{Client, Connector, Push, Pushes};
use super::clock::{self, Clocks};
use super::failure;
use super::late_extensions::LateExtensions;
use super::network::{Credentials, Network};
use super::pubsub::{Subscriber, Subscriptions};
use super::retry::Request;
use crate::random::Random;
use crate::store::{CacheError, ErrorKind};

/// How long an idle channel stays subscribed: where there was one waiter, there may be a next one.
const UNSUBSCRIBE_DELAY: Duration = Duration::from_secs(1);

/// The generation of no connection: it is not known which one is subscribed to a channel, if any is.
pub(super) const UNKNOWN: u64 = 0;

pub(super) struct Connection {
    address: Arc<Address>,
    settings: Settings,
    connector: Arc<dyn Connector>,
    subscriptions: Arc<Subscriptions>,
    clocks: Clocks,
    late_extensions: LateExtensions,
    /// Distinguishes this client's queue entries and channels from those of others.
    client_id: String,
    current: Arc<Mutex<CurrentConnection>>,
    /// Held while the connection is made, so that it is made once.
    connecting: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
pub(super) struct Settings {
    /// How long to wait for a connection, and how long for an answer.
    pub(super) timeout: Duration,
    pub(super) credentials: Credentials,
    /// What makes connections instead of the network.
    pub(super) connector: Option<Arc<dyn Connector>>,
    pub(super) random: Random,
}

impl Settings {
    fn longest_delay(&self) -> Duration {
        self.timeout + Duration::from_secs(1)
    }
}

#[derive(Default)]
struct CurrentConnection {
    client: Option<Arc<dyn Client>>,
    /// Counts the connections, so that the failure of an old one does not end its successor.
    generation: u64,
}

impl Connection {
    pub(super) fn new(address: Arc<Address>, settings: Settings) -> Self {
        // Without random bits, entries with the same id would still differ in their values.
        let client_id = format!("{:016x}", settings.random.u64());
        let (subscriptions, current, connecting) = (Arc::default(), Arc::default(), tokio::sync::Mutex::default());
        let connector = settings.connector.clone().unwrap_or_else(|| {
            Arc::new(Network { address: address.clone(), credentials: settings.credentials.clone() })
        });
        let late_extensions = LateExtensions::new(settings.longest_delay());
        let clocks = Clocks::default();
        Self { address, settings, connector, subscriptions, clocks, late_extensions, client_id, current, connecting }
    }

    /// Another connection to the same address.
    pub(super) fn with(&self, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = self.settings.clone();
        change(&mut settings);
        Self::new(self.address.clone(), settings)
    }

    /// What connects to single servers, unless connections are simulated.
    pub(super) fn network(&self) -> Option<Arc<Network>> {
        let Settings { credentials, connector, .. } = &self.settings;
        let network = Network { address: self.address.clone(), credentials: credentials.clone() };
        connector.is_none().then(|| Arc::new(network))
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    pub(super) fn timeout(&self) -> Duration {
        self.settings.timeout
    }

    pub(super) fn subscriptions(&self) -> &Arc<Subscriptions> {
        &self.subscriptions
    }

    pub(super) fn clocks(&self) -> &Clocks {
        &self.clocks
    }

    pub(super) fn late_extensions(&self) -> &LateExtensions {
        &self.late_extensions
    }

    /// Longer than a request can be under way and still take effect.
    pub(super) fn longest_delay(&self) -> Duration {
        self.settings.longest_delay()
    }

    pub(super) fn client_id(&self) -> &str {
        &self.client_id
    }

    /// The connection, and its generation for [`Connection::invalidate`].
    pub(super) async fn get(&self) -> RedisResult<(Arc<dyn Client>, u64)> {
        if let Some(current) = self.current().get() {
            return Ok(current);
        }
        // Boxed to keep the common future small.
        Box::pin(self.reconnect()).await
    }

    async fn reconnect(&self) -> RedisResult<(Arc<dyn Client>, u64)> {
        let _connecting = self.connecting.lock().await;
        let current = self.current().get();
        match current {
            Some(current) => Ok(current),
            None => self.connect().await,
        }
    }

    async fn connect(&self) -> RedisResult<(Arc<dyn Client>, u64)> {
        let generation = self.current().generation + 1;
        let client = self.connector.connect(self.timeout(), self.on_push(generation)).await?;
        // It may be another server, with another clock.
        self.clocks.clear();
        if !self.address.is_cluster() {
            self.clocks.note(0, clock::read(&*client).await?);
        }
        *self.current() = CurrentConnection { client: Some(client.clone()), generation };
        Ok((client, generation))
    }

    /// The generation of the connection, if there is one.
    pub(super) fn generation(&self) -> Option<u64> {
        self.current().get().map(|(_, generation)| generation)
    }

    /// Lets the next request make a new connection. The subscriptions ended with the old one, so all waiters subscribe again.
    pub(super) fn invalidate(&self, generation: u64) {
        if self.current().end(generation) {
            self.subscriptions.wake_all();
        }
    }

    /// Makes a new connection to a cluster. The old one serves the other nodes until then.
    pub(super) fn replace(self: &Arc<Self>, generation: u64) {
        let connection = self.clone();
        tokio::spawn(async move {
            let Ok(_connecting) = connection.connecting.try_lock() else { return };
            if connection.generation() == Some(generation) && connection.connect().await.is_ok() {
                connection.subscriptions.wake_all();
            }
        });
    }

    /// Makes the server notify this client on a channel, unless it does already.
    pub(super) async fn subscribe(
        self: &Arc<Self>,
        subscriber: &Subscriber<'_>,
        channel: &str,
    ) -> Result<(), CacheError> {
        let mut subscribed = subscriber.lock().lock().await;
        let before = self.generation();
        if before.is_some() && *subscribed == before {
            return Ok(());
        }
        self.subscribe_now(&mut subscribed, channel).await
    }

    pub(super) async fn subscribe_now(
        self: &Arc<Self>,
        subscribed: &mut Option<u64>,
        channel: &str,
    ) -> Result<(), CacheError> {
        // If this is dropped now, the server may have subscribed all the same.
        *subscribed = Some(UNKNOWN);
        let before = self.generation();
        () = self.execute(&Request::Subscribe(channel)).await?;
        // If the connection was replaced meanwhile, it is not known which one is subscribed.
        *subscribed = before.filter(|_| before == self.generation()).or(Some(UNKNOWN));
        Ok(())
    }

    /// Unsubscribes from a channel if it is idle for a while.
    pub(super) async fn unsubscribe_if_idle(&self, channel: &str) {
        loop {
            tokio::time::sleep(UNSUBSCRIBE_DELAY).await;
            let Some(lock) = self.subscriptions.idle_channel(channel) else { return };
            let mut subscribed = lock.lock().await;
            let current = self.current().get();
            if let (Some((client, generation)), Some(_)) = (current, self.subscriptions.idle_channel(channel)) {
                *subscribed = Some(UNKNOWN);
                let refused =
                    client.unsubscribe(channel).await.err().map(|error| failure::translate(self.address(), error));
                // A server that is busy refuses. If the connection broke, its subscriptions ended with it.
                let is_busy = refused.is_some_and(|error| error.kind() == ErrorKind::Unavailable);
                if is_busy && self.generation() == Some(generation) {
                    continue;
                }
            }
            *subscribed = None;
            return self.subscriptions.unsubscribed(channel);
        }
    }

    /// Handles what the server sends without being asked.
    fn on_push(&self, generation: u64) -> Pushes {
        // The connection keeps this: if it held itself, it would stay open when its last user is gone.
        let (current, subscriptions) = (Arc::downgrade(&self.current), self.subscriptions.clone());
        let heals_itself = self.address.is_cluster();
        Arc::new(move |push| match push {
            Push::Message { channel, message } => subscriptions.on_message(channel, message),
            Push::Disconnected => {
                if let (false, Some(current)) = (heals_itself, current.upgrade()) {
                    lock(&current).end(generation);
                }
                // What is published meanwhile is lost.
                subscriptions.wake_all();
            }
        })
    }

    fn current(&self) -> MutexGuard<'_, CurrentConnection> {
        lock(&self.current)
    }
}

fn lock(current: &Mutex<CurrentConnection>) -> MutexGuard<'_, CurrentConnection> {
    current.lock().unwrap_or_else(PoisonError::into_inner)
}

impl CurrentConnection {
    fn get(&self) -> Option<(Arc<dyn Client>, u64)> {
        self.client.clone().map(|client| (client, self.generation))
    }

    /// Answers whether this was the current one.
    fn end(&mut self, generation: u64) -> bool {
        self.generation == generation && self.client.take().is_some()
    }
}
