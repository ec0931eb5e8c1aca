//! Connections over the network, which the redis crate makes.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClientBuilder;
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr};
use redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, ClientTlsConfig, Cmd, ConnectionAddr, ConnectionInfo, ProtocolVersion, PushInfo, PushKind,
    RedisConnectionInfo, RedisFuture, RedisResult, TlsCertificates, TlsMode, Value, cmd,
};

use super::address::Address;
use super::client::{Client, Connector, Push, Pushes};
use super::failure;
use super::tls;

pub(super) struct Network {
    pub(super) address: Arc<Address>,
    pub(super) credentials: Credentials,
}

/// How clients and servers identify themselves, besides the login in the URL.
#[derive(Clone, Default)]
pub(super) struct Credentials {
    /// The certificates to trust instead of the system's, in PEM.
    pub(super) root_certificates: Option<Vec<u8>>,
    /// The certificate of this client and its key, in PEM.
    pub(super) client_certificate: Option<(Vec<u8>, Vec<u8>)>,
    /// The user, if there is one, and the password for sentinels, if they are not those of the servers.
    pub(super) sentinel_login: Option<(Option<String>, String)>,
}

impl Client for MultiplexedConnection {
    fn send<'a>(&'a self, command: &'a Cmd, _: Option<u16>) -> RedisFuture<'a, Value> {
        let mut connection = self.clone();
        Box::pin(async move { connection.send_packed_command(command).await })
    }

    fn subscribe<'a>(&'a self, channel: &'a str) -> RedisFuture<'a, ()> {
        let mut connection = self.clone();
        Box::pin(async move { Self::subscribe(&mut connection, channel).await })
    }

    fn unsubscribe<'a>(&'a self, channel: &'a str) -> RedisFuture<'a, ()> {
        let mut connection = self.clone();
        Box::pin(async move { Self::unsubscribe(&mut connection, channel).await })
    }
}

/// It manages its own connections to the nodes, and resubscribes by itself.
impl Client for ClusterConnection {
    fn send<'a>(&'a self, command: &'a Cmd, slot: Option<u16>) -> RedisFuture<'a, Value> {
        let mut connection = self.clone();
        Box::pin(async move {
            let Some(slot) = slot else { return connection.req_packed_command(command).await };
            let primary = SingleNodeRoutingInfo::SpecificNode(Route::new(slot, SlotAddr::Master));
            connection.route_command(command.clone(), RoutingInfo::SingleNode(primary)).await
        })
    }

    fn subscribe<'a>(&'a self, channel: &'a str) -> RedisFuture<'a, ()> {
        let mut connection = self.clone();
        Box::pin(async move { Self::subscribe(&mut connection, channel).await })
    }

    fn unsubscribe<'a>(&'a self, channel: &'a str) -> RedisFuture<'a, ()> {
        let mut connection = self.clone();
        Box::pin(async move { Self::unsubscribe(&mut connection, channel).await })
    }
}

impl Connector for Network {
    fn connect(&self, timeout: Duration, pushes: Pushes) -> RedisFuture<'_, Arc<dyn Client>> {
        choose_crypto();
        let push = on_push(pushes);
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(timeout))
            .set_response_timeout(Some(timeout))
            .set_push_sender(push.clone());
        Box::pin(async move {
            Ok(match &*self.address {
                Address::One(info) => self.connect_to(info, timeout, &config).await?,
                Address::Sentinel { sentinels, primary } => {
                    Arc::new(self.connect_by_sentinels(sentinels, primary, timeout, &config).await?)
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
                    Arc::new(builder.build()?.get_async_connection().await?)
                }
            })
        })
    }
}

/// Passes on what the store uses of what the redis crate pushes.
fn on_push(pushes: Pushes) -> impl Fn(PushInfo) -> Result<(), Infallible> + Clone + Send + Sync + 'static {
    move |push: PushInfo| {
        match (push.kind, &push.data[..]) {
            (PushKind::Message, [Value::BulkString(channel), Value::BulkString(message)]) => {
                pushes(Push::Message { channel, message });
            }
            (PushKind::Disconnection, _) => pushes(Push::Disconnected),
            _ => {}
        }
        Ok(())
    }
}

/// Without a default provider, TLS would panic. One that the embedder has chosen is as good.
fn choose_crypto() {
    _ = rustls::crypto::ring::default_provider().install_default();
}

impl Network {
    fn open(&self, info: &ConnectionInfo) -> RedisResult<redis::Client> {
        choose_crypto();
        match self.certificates() {
            Some(certificates) => redis::Client::build_with_tls(info.clone(), certificates),
            None => redis::Client::open(info.clone()),
        }
    }

    async fn connect_to(
        &self,
        info: &ConnectionInfo,
        timeout: Duration,
        config: &AsyncConnectionConfig,
    ) -> RedisResult<Arc<dyn Client>> {
        if matches!(info.addr(), ConnectionAddr::TcpTls { .. }) && self.credentials.root_certificates.is_some() {
            let connected = tls::connect(info, &self.credentials, config.clone());
            let connected = tokio::time::timeout(timeout, connected).await.map_err(std::io::Error::from)?;
            return Ok(Arc::new(connected?));
        }
        Ok(Arc::new(self.open(info)?.get_multiplexed_async_connection_with_config(config).await?))
    }

    async fn connect_by_sentinels(
        &self,
        sentinels: &[ConnectionInfo],
        primary: &str,
        timeout: Duration,
        config: &AsyncConnectionConfig,
    ) -> RedisResult<MultiplexedConnection> {
        let connect = async |login| {
            let mut client = self.sentinels(sentinels, primary, login)?.build()?;
            let connected = client.get_async_connection_with_config(config);
            // The redis crate asks the sentinels without a timeout.
            tokio::time::timeout(timeout, connected).await.map_err(std::io::Error::from)?
        };
        match connect(true).await {
            // The usual installation: the servers have a password, and the sentinels have none.
            Err(error) if self.credentials.sentinel_login.is_none() && failure::refuses_login(&error) => {
                connect(false).await.map_err(|_| error)
            }
            connected => connected,
        }
    }

    /// Which primary a sentinel names, as host and port.
    pub(super) async fn primary_of(&self, sentinel: &ConnectionInfo, timeout: Duration) -> RedisResult<Option<String>> {
        match self.ask_sentinel(sentinel, timeout, true).await {
            Err(error) if self.credentials.sentinel_login.is_none() && failure::refuses_login(&error) => {
                self.ask_sentinel(sentinel, timeout, false).await.map_err(|_| error)
            }
            answer => answer,
        }
    }

    async fn ask_sentinel(
        &self,
        sentinel: &ConnectionInfo,
        timeout: Duration,
        with_login: bool,
    ) -> RedisResult<Option<String>> {
        let Address::Sentinel { primary, .. } = &*self.address else { return Ok(None) };
        let mut settings = RedisConnectionInfo::default().set_skip_set_lib_name();
        let (username, password) = self.sentinel_login(sentinel);
        if let Some(username) = username.filter(|_| with_login) {
            settings = settings.set_username(username);
        }
        if let Some(password) = password.filter(|_| with_login) {
            settings = settings.set_password(password);
        }
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(Some(timeout)).set_response_timeout(Some(timeout));
        let client = self.open(&sentinel.clone().set_redis_settings(settings))?;
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        let mut question = cmd("SENTINEL");
        question.arg("GET-MASTER-ADDR-BY-NAME").arg(primary);
        let named: Option<(String, u16)> = question.query_async(&mut connection).await?;
        Ok(named.map(|(host, port)| format!("{host}:{port}")))
    }

    /// The user and the password for sentinels.
    fn sentinel_login<'a>(&'a self, sentinel: &'a ConnectionInfo) -> (Option<&'a str>, Option<&'a str>) {
        let login = sentinel.redis_settings();
        match &self.credentials.sentinel_login {
            Some((username, password)) => (username.as_deref(), Some(&password[..])),
            None => (login.username(), login.password()),
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
        let (username, password) = self.sentinel_login(info);
        if let Some(username) = username.filter(|_| with_login) {
            builder = builder.set_client_to_sentinel_username(username);
        }
        if let Some(password) = password.filter(|_| with_login) {
            builder = builder.set_client_to_sentinel_password(password);
        }
        if matches!(info.addr(), ConnectionAddr::TcpTls { .. }) {
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
        let Credentials { root_certificates: root_cert, client_certificate, .. } = self.credentials.clone();
        let client_tls =
            client_certificate.map(|(client_cert, client_key)| ClientTlsConfig { client_cert, client_key });
        (root_cert.is_some() || client_tls.is_some()).then_some(TlsCertificates { client_tls, root_cert })
    }
}
