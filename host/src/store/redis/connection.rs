//! One connection that all calls share, made when it is needed and made again when it broke.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::cluster::ClusterClientBuilder;
use redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, ClientTlsConfig, ConnectionInfo, ProtocolVersion, PushInfo, PushKind, RedisResult,
    TlsCertificates, TlsMode, Value,
};

use super::address::Address;
use super::client::Client;
use super::clock::{self, Clocks};
use super::failure;
use super::late_extensions::LateExtensions;
use super::pubsub::Subscriptions;
use crate::random::Random;

/// How long an idle channel stays subscribed: where there was one waiter, there may be a next one.
const UNSUBSCRIBE_DELAY: Duration = Duration::from_secs(1);

pub(super) struct Connection {
    address: Arc<Address>,
    settings: Settings,
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
    /// The certificates to trust instead of the system's, in PEM.
    pub(super) root_certificates: Option<Vec<u8>>,
    /// The certificate of this client and its key, in PEM.
    pub(super) client_certificate: Option<(Vec<u8>, Vec<u8>)>,
    /// The user, if there is one, and the password for sentinels, if they are not those of the servers.
    pub(super) sentinel_login: Option<(Option<String>, String)>,
    pub(super) random: Random,
}

impl Settings {
    fn longest_delay(&self) -> Duration {
        self.timeout + Duration::from_secs(1)
    }
}

#[derive(Default)]
struct CurrentConnection {
    client: Option<Client>,
    /// Counts the connections, so that the failure of an old one does not end its successor.
    generation: u64,
}

impl Connection {
    pub(super) fn new(address: Arc<Address>, settings: Settings) -> Self {
        // Without random bits, entries with the same id would still differ in their values.
        let client_id = format!("{:016x}", settings.random.u64());
        let (subscriptions, current, connecting) = (Arc::default(), Arc::default(), tokio::sync::Mutex::default());
        let late_extensions = LateExtensions::new(settings.longest_delay());
        let clocks = Clocks::default();
        Self { address, settings, subscriptions, clocks, late_extensions, client_id, current, connecting }
    }

    /// Another connection to the same address.
    pub(super) fn with(&self, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = self.settings.clone();
        change(&mut settings);
        Self::new(self.address.clone(), settings)
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    pub(super) fn random(&self) -> &Random {
        &self.settings.random
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
    pub(super) async fn get(&self) -> RedisResult<(Client, u64)> {
        if let Some(current) = self.current().get() {
            return Ok(current);
        }
        // Boxed to keep the common future small.
        Box::pin(self.reconnect()).await
    }

    async fn reconnect(&self) -> RedisResult<(Client, u64)> {
        let _connecting = self.connecting.lock().await;
        if let Some(current) = self.current().get() {
            return Ok(current);
        }
        let generation = self.current().generation + 1;
        let mut client = self.connect(generation).await?;
        // It may be another server, with another clock.
        self.clocks.clear();
        if let Client::One(_) = client {
            self.clocks.note(0, clock::read(&mut client).await?);
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

    /// Unsubscribes from a channel if it is idle for a while.
    pub(super) async fn unsubscribe_if_idle(&self, channel: &str) {
        tokio::time::sleep(UNSUBSCRIBE_DELAY).await;
        let Some(lock) = self.subscriptions.idle_channel(channel) else { return };
        let mut subscribed = lock.lock().await;
        *subscribed = None;
        let current = self.current().get();
        if let (Some((mut client, _)), Some(_)) = (current, self.subscriptions.idle_channel(channel)) {
            // If this fails, the connection broke, and its subscriptions with it.
            _ = client.unsubscribe(channel).await;
        }
        self.subscriptions.forget(channel);
    }

    async fn connect(&self, generation: u64) -> RedisResult<Client> {
        let Settings { timeout, .. } = self.settings;
        // Without a default provider, TLS would panic. One that the embedder has chosen is as good.
        _ = rustls::crypto::ring::default_provider().install_default();
        let push = self.on_push(generation);
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(timeout))
            .set_response_timeout(Some(timeout))
            .set_push_sender(push.clone());
        Ok(match &*self.address {
            Address::One(info) => {
                let client = self.open(info)?;
                Client::One(client.get_multiplexed_async_connection_with_config(&config).await?)
            }
            Address::Sentinel { sentinels, primary } => {
                let connect = async |login| {
                    let mut client = self.sentinels(sentinels, primary, login)?.build()?;
                    let connected = client.get_async_connection_with_config(&config);
                    // The redis crate asks the sentinels without a timeout.
                    tokio::time::timeout(timeout, connected).await.map_err(std::io::Error::from)?
                };
                let connected = match connect(true).await {
                    // The usual installation: the servers have a password, and the sentinels have none.
                    Err(error) if self.settings.sentinel_login.is_none() && failure::refuses_login(&error) => {
                        connect(false).await.map_err(|_| error)?
                    }
                    connected => connected?,
                };
                Client::One(connected)
            }
            Address::Cluster(nodes) => {
                let mut builder = ClusterClientBuilder::new(nodes.iter().cloned())
                    .use_protocol(ProtocolVersion::RESP3)
                    .connection_timeout(timeout)
                    .response_timeout(timeout)
                    // Whether to ask again is for us to say: not everything may be asked twice without a thought.
                    .retries(0)
                    .push_sender(push);
                if let Some(certificates) = self.certificates() {
                    builder = builder.certs(certificates);
                }
                Client::Cluster(builder.build()?.get_async_connection().await?)
            }
        })
    }

    fn open(&self, info: &ConnectionInfo) -> RedisResult<redis::Client> {
        match self.certificates() {
            Some(certificates) => redis::Client::build_with_tls(info.clone(), certificates),
            None => redis::Client::open(info.clone()),
        }
    }

    /// The client that asks the sentinels, with a login or without one.
    fn sentinels(
        &self,
        sentinels: &[ConnectionInfo],
        primary: &str,
        with_login: bool,
    ) -> RedisResult<SentinelClientBuilder> {
        let addresses = sentinels.iter().map(|info| info.addr().clone());
        let mut builder = SentinelClientBuilder::new(addresses, primary, SentinelServerType::Master)?
            .set_client_to_redis_protocol(ProtocolVersion::RESP3);
        let Some(info) = sentinels.first() else { return Ok(builder) };
        let login = info.redis_settings();
        builder = builder.set_client_to_redis_db(login.db());
        if let Some(username) = login.username() {
            builder = builder.set_client_to_redis_username(username);
        }
        if let Some(password) = login.password() {
            builder = builder.set_client_to_redis_password(password);
        }
        let (username, password) = match &self.settings.sentinel_login {
            Some((username, password)) => (username.as_deref(), Some(&password[..])),
            None => (login.username(), login.password()),
        };
        if let Some(username) = username.filter(|_| with_login) {
            builder = builder.set_client_to_sentinel_username(username);
        }
        if let Some(password) = password.filter(|_| with_login) {
            builder = builder.set_client_to_sentinel_password(password);
        }
        if matches!(info.addr(), redis::ConnectionAddr::TcpTls { .. }) {
            builder =
                builder.set_client_to_redis_tls_mode(TlsMode::Secure).set_client_to_sentinel_tls_mode(TlsMode::Secure);
            if let Some(certificates) = self.certificates() {
                builder = builder.set_client_to_redis_certificates(certificates.clone());
                builder = builder.set_client_to_sentinel_certificates(certificates);
            }
        }
        Ok(builder)
    }

    fn certificates(&self) -> Option<TlsCertificates> {
        let Settings { root_certificates: root_cert, client_certificate, .. } = self.settings.clone();
        let client_tls =
            client_certificate.map(|(client_cert, client_key)| ClientTlsConfig { client_cert, client_key });
        (root_cert.is_some() || client_tls.is_some()).then_some(TlsCertificates { client_tls, root_cert })
    }

    /// Handles what the server sends without being asked.
    fn on_push(&self, generation: u64) -> impl Fn(PushInfo) -> Result<(), Infallible> + Clone + Send + Sync + 'static {
        let (current, subscriptions) = (self.current.clone(), self.subscriptions.clone());
        let heals_itself = matches!(&*self.address, Address::Cluster(_));
        move |push: PushInfo| {
            match (push.kind, &push.data[..]) {
                (PushKind::Message, [Value::BulkString(channel), Value::BulkString(message)]) => {
                    subscriptions.on_message(channel, message);
                }
                (PushKind::Disconnection, _) => {
                    if !heals_itself {
                        lock(&current).end(generation);
                    }
                    // What is published meanwhile is lost.
                    subscriptions.wake_all();
                }
                _ => {}
            }
            Ok(())
        }
    }

    fn current(&self) -> MutexGuard<'_, CurrentConnection> {
        lock(&self.current)
    }
}

fn lock(current: &Mutex<CurrentConnection>) -> MutexGuard<'_, CurrentConnection> {
    current.lock().unwrap_or_else(PoisonError::into_inner)
}

impl CurrentConnection {
    fn get(&self) -> Option<(Client, u64)> {
        self.client.clone().map(|client| (client, self.generation))
    }

    /// Answers whether this was the current one.
    fn end(&mut self, generation: u64) -> bool {
        self.generation == generation && self.client.take().is_some()
    }
}
