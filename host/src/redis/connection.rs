//! One connection that all calls share, made when it is needed and made anew when it broke.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, PushInfo, PushKind, RedisError, Value};

use super::wakeups::Wakeups;

pub(super) struct Connection {
    client: Client,
    wakeups: Arc<Wakeups>,
    live: Arc<Mutex<Live>>,
    /// Held by whoever makes the connection, so that it is made once.
    connecting: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Live {
    connection: Option<MultiplexedConnection>,
    /// Counts the connections, so that the failure of an old one does not end its successor.
    generation: u64,
}

/// How long to wait for a connection or an answer. A server that is busy saving or failing over is given its time.
const PATIENCE: Duration = Duration::from_secs(5);

impl Connection {
    pub(super) fn new(client: Client) -> Self {
        Self { client, wakeups: Arc::default(), live: Arc::default(), connecting: tokio::sync::Mutex::default() }
    }

    pub(super) fn wakeups(&self) -> &Arc<Wakeups> {
        &self.wakeups
    }

    pub(super) fn address(&self) -> String {
        match self.client.get_connection_info().addr() {
            ConnectionAddr::Unix(path) => path.display().to_string(),
            address => address.to_string(),
        }
    }

    /// The connection, and its number for [`Connection::broke`].
    pub(super) async fn get(&self) -> Result<(MultiplexedConnection, u64), RedisError> {
        if let Some(live) = self.live().get() {
            return Ok(live);
        }
        let _connecting = self.connecting.lock().await;
        if let Some(live) = self.live().get() {
            return Ok(live);
        }
        let generation = self.live().generation + 1;
        let (live, wakeups) = (self.live.clone(), self.wakeups.clone());
        let on_push = move |push: PushInfo| -> Result<(), std::convert::Infallible> {
            match (push.kind, push.data.into_iter().next()) {
                (PushKind::Message, Some(Value::BulkString(channel))) => wakeups.wake(&channel),
                (PushKind::Disconnection, _) => {
                    lock(&live).end(generation);
                    // What was published meanwhile is lost: everybody has to look for themselves.
                    wakeups.wake_all();
                }
                _ => {}
            }
            Ok(())
        };
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE))
            .set_push_sender(on_push);
        let connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        *self.live() = Live { connection: Some(connection.clone()), generation };
        Ok((connection, generation))
    }

    /// Whoever comes next gets a new connection.
    pub(super) fn broke(&self, generation: u64) {
        self.live().end(generation);
    }

    /// Unsubscribes from a channel if nobody listens to it. A connection that broke has done so already.
    pub(super) async fn desert(&self, channel: &str) {
        let Some(gate) = self.wakeups.deserted(channel) else { return };
        let _open = gate.lock().await;
        let live = self.live().get();
        if let (Some((mut connection, _)), Some(_)) = (live, self.wakeups.deserted(channel)) {
            _ = connection.unsubscribe(channel).await;
        }
        self.wakeups.forget(channel);
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        lock(&self.live)
    }
}

fn lock(live: &Mutex<Live>) -> MutexGuard<'_, Live> {
    live.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Live {
    fn get(&self) -> Option<(MultiplexedConnection, u64)> {
        self.connection.clone().map(|connection| (connection, self.generation))
    }

    fn end(&mut self, generation: u64) {
        if self.generation == generation {
            self.connection = None;
        }
    }
}
