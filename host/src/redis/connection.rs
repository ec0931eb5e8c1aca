//! One connection that all calls share, made when it is needed and made anew when it broke.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::cluster::ClusterClientBuilder;
use redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, ConnectionInfo, ProtocolVersion, PushInfo, PushKind, RedisResult, TlsCertificates,
    TlsMode, Value,
};

use super::address::Address;
use super::link::Link;
use super::wakeups::Wakeups;

/// How long a channel stays subscribed to that nobody listens to.
const LINGER: Duration = Duration::from_secs(1);

pub(super) struct Connection {
    address: Arc<Address>,
    settings: Settings,
    wakeups: Arc<Wakeups>,
    /// What tells the channels of this connection's listeners from those of others.
    listener: String,
    live: Arc<Mutex<Live>>,
    /// Held by whoever makes the connection, so that it is made once.
    connecting: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
pub(super) struct Settings {
    /// How long to wait for a connection, and how long for an answer.
    pub(super) patience: Duration,
    /// The certificates to trust instead of the system's, in PEM.
    pub(super) authority: Option<Vec<u8>>,
}

#[derive(Default)]
struct Live {
    link: Option<Link>,
    /// Counts the connections, so that the failure of an old one does not end its successor.
    generation: u64,
}

impl Connection {
    pub(super) fn new(address: Arc<Address>, settings: Settings) -> Self {
        // One that is not random would do: a value that is handed over is told by itself.
        let listener = format!("{:016x}", getrandom::u64().unwrap_or_default());
        let (wakeups, live, connecting) = (Arc::default(), Arc::default(), tokio::sync::Mutex::default());
        Self { address, settings, wakeups, listener, live, connecting }
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

    pub(super) fn patience(&self) -> Duration {
        self.settings.patience
    }

    pub(super) fn wakeups(&self) -> &Arc<Wakeups> {
        &self.wakeups
    }

    pub(super) fn listener(&self) -> &str {
        &self.listener
    }

    /// The connection, and its number for [`Connection::broke`].
    pub(super) async fn get(&self) -> RedisResult<(Link, u64)> {
        if let Some(live) = self.live().get() {
            return Ok(live);
        }
        // Boxed, lest the future of what is done all the time gets large.
        Box::pin(self.get_anew()).await
    }

    async fn get_anew(&self) -> RedisResult<(Link, u64)> {
        let _connecting = self.connecting.lock().await;
        if let Some(live) = self.live().get() {
            return Ok(live);
        }
        let generation = self.live().generation + 1;
        let link = self.connect(generation).await?;
        *self.live() = Live { link: Some(link.clone()), generation };
        Ok((link, generation))
    }

    /// The number of the connection, if there is one.
    pub(super) fn generation(&self) -> Option<u64> {
        self.live().get().map(|(_, generation)| generation)
    }

    /// Whoever comes next gets a new connection.
    pub(super) fn broke(&self, generation: u64) {
        self.live().end(generation);
    }

    /// Unsubscribes from a channel if nobody listens to it for a while: where there is one waiter, there may be a next one. A
    /// connection that broke has unsubscribed already.
    pub(super) async fn desert(&self, channel: &str) {
        tokio::time::sleep(LINGER).await;
        let Some(gate) = self.wakeups.deserted(channel) else { return };
        let mut subscribed = gate.lock().await;
        *subscribed = None;
        let live = self.live().get();
        if let (Some((mut link, _)), Some(_)) = (live, self.wakeups.deserted(channel)) {
            // If this fails, the connection broke, and its subscriptions with it.
            _ = link.unsubscribe(channel).await;
        }
        self.wakeups.forget(channel);
    }

    async fn connect(&self, generation: u64) -> RedisResult<Link> {
        let Settings { patience, .. } = self.settings;
        // Without one that was chosen, TLS would panic. If somebody else has chosen, that is as good.
        _ = rustls::crypto::ring::default_provider().install_default();
        let push = self.hear(generation);
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(patience))
            .set_response_timeout(Some(patience))
            .set_push_sender(push.clone());
        Ok(match &*self.address {
            Address::One(info) => {
                let client = self.client(info)?;
                Link::One(client.get_multiplexed_async_connection_with_config(&config).await?)
            }
            Address::Sentinel { sentinels, primary } => {
                let mut client = self.sentinels(sentinels, primary)?.build()?;
                let connected = client.get_async_connection_with_config(&config);
                // The client of the sentinels themselves has patience without end.
                let connected = tokio::time::timeout(patience, connected).await.map_err(std::io::Error::from)?;
                Link::One(connected?)
            }
            Address::Cluster(nodes) => {
                let mut builder = ClusterClientBuilder::new(nodes.iter().cloned())
                    .use_protocol(ProtocolVersion::RESP3)
                    .connection_timeout(patience)
                    .response_timeout(patience)
                    // Whether to ask again is for us to say: not everything may be asked twice without a thought.
                    .retries(0)
                    .push_sender(push);
                if let Some(certificates) = self.certificates() {
                    builder = builder.certs(certificates);
                }
                Link::Cluster(builder.build()?.get_async_connection().await?)
            }
        })
    }

    fn client(&self, info: &ConnectionInfo) -> RedisResult<Client> {
        match self.certificates() {
            Some(certificates) => Client::build_with_tls(info.clone(), certificates),
            None => Client::open(info.clone()),
        }
    }

    fn sentinels(&self, sentinels: &[ConnectionInfo], primary: &str) -> RedisResult<SentinelClientBuilder> {
        let addresses = sentinels.iter().map(|info| info.addr().clone());
        let mut builder = SentinelClientBuilder::new(addresses, primary, SentinelServerType::Master)?
            .set_client_to_redis_protocol(ProtocolVersion::RESP3);
        let Some(info) = sentinels.first() else { return Ok(builder) };
        let login = info.redis_settings();
        builder = builder.set_client_to_redis_db(login.db());
        if let Some(username) = login.username() {
            builder = builder.set_client_to_redis_username(username).set_client_to_sentinel_username(username);
        }
        if let Some(password) = login.password() {
            builder = builder.set_client_to_redis_password(password).set_client_to_sentinel_password(password);
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
        let root_cert = Some(self.settings.authority.clone()?);
        Some(TlsCertificates { client_tls: None, root_cert })
    }

    /// Hears what the server says unasked.
    fn hear(&self, generation: u64) -> impl Fn(PushInfo) -> Result<(), Infallible> + Clone + Send + Sync + 'static {
        let (live, wakeups) = (self.live.clone(), self.wakeups.clone());
        let heals_itself = matches!(&*self.address, Address::Cluster(_));
        move |push: PushInfo| {
            match (push.kind, &push.data[..]) {
                (PushKind::Message, [Value::BulkString(channel), Value::BulkString(message)]) => {
                    wakeups.wake(channel, message);
                }
                (PushKind::Disconnection, _) => {
                    if !heals_itself {
                        lock(&live).end(generation);
                    }
                    // What was published meanwhile is lost: everybody has to look for themselves.
                    wakeups.wake_all();
                }
                _ => {}
            }
            Ok(())
        }
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        lock(&self.live)
    }
}

fn lock(live: &Mutex<Live>) -> MutexGuard<'_, Live> {
    live.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Live {
    fn get(&self) -> Option<(Link, u64)> {
        self.link.clone().map(|link| (link, self.generation))
    }

    fn end(&mut self, generation: u64) {
        if self.generation == generation {
            self.link = None;
        }
    }
}
