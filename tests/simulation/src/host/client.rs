//! Connections to the server of a world.

use std::io::ErrorKind::BrokenPipe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use locker_host::simulation::{Client, Connector, Push, Pushes};
use redis::{Cmd, RedisFuture, Value};
use tokio::time::sleep;

use super::server::words;
use super::world::HostWorld;

/// How long a request takes to the server, and as long again its reply.
const LATENCY: Duration = Duration::from_millis(1);

/// The network of one process.
pub(super) struct Network {
    pub(super) world: HostWorld,
    pub(super) process: usize,
}

pub(super) struct Connection {
    world: HostWorld,
    process: usize,
    pushes: Pushes,
    broken: AtomicBool,
}

impl Connector for Network {
    fn connect(&self, _: Duration, pushes: Pushes) -> RedisFuture<'_, Arc<dyn Client>> {
        Box::pin(async move {
            sleep(LATENCY).await;
            let (world, process) = (self.world.clone(), self.process);
            world.tell(process, "connects");
            let connection = Arc::new(Connection { world, process, pushes, broken: AtomicBool::new(false) });
            self.world.connected(self.process, &connection);
            Ok(connection as Arc<dyn Client>)
        })
    }
}

impl Connection {
    pub(super) fn push(&self, channel: &str, message: &str) {
        if !self.broken.load(Ordering::Relaxed) {
            self.world.tell(self.process, &format!("is told {message}"));
            (self.pushes)(Push::Message { channel: channel.as_bytes(), message: message.as_bytes() });
        }
    }

    /// Breaks the connection. Requests that are under way get no reply.
    pub(super) fn disconnect(&self) {
        if !self.broken.swap(true, Ordering::Relaxed) {
            self.world.tell(self.process, "is disconnected");
            (self.pushes)(Push::Disconnected);
        }
    }
}

impl Client for Connection {
    fn send<'a>(&'a self, command: &'a Cmd, _: Option<u16>) -> RedisFuture<'a, Value> {
        Box::pin(async move {
            sleep(LATENCY).await;
            self.world.tell(self.process, &told(command));
            let reply = self.world.call(command, LATENCY);
            sleep(LATENCY).await;
            if self.broken.load(Ordering::Relaxed) {
                return Err(std::io::Error::from(BrokenPipe).into());
            }
            Ok(reply)
        })
    }

    fn subscribe<'a>(&'a self, channel: &'a str) -> RedisFuture<'a, ()> {
        Box::pin(async move {
            sleep(LATENCY).await;
            self.world.subscribe(self.process, channel);
            sleep(LATENCY).await;
            Ok(())
        })
    }

    fn unsubscribe<'a>(&'a self, _: &'a str) -> RedisFuture<'a, ()> {
        Box::pin(async { Ok(()) })
    }
}

/// The command without the code of a script.
fn told(command: &Cmd) -> String {
    let words = words(command);
    let short = words.iter().map(|word| if word.contains('\n') { "CODE" } else { word });
    short.collect::<Vec<_>>().join(" ")
}
