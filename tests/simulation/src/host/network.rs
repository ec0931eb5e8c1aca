//! Connections to the servers of a world.

use std::io::ErrorKind::{BrokenPipe, ConnectionRefused, TimedOut};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use locker_host::simulation::{Client, Connector, Push, Pushes};
use redis::{Arg, Cmd, RedisError, RedisFuture, RedisResult, Value};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::sleep;

use super::asked::Words;
use super::links::{Arriving, Down, Reply, downlink, uplink};
use super::sites::Peer;
use super::variants::Flaw;
use super::world::{Route, World};

/// The network between a process and a site.
pub(super) struct Network {
    pub(super) world: Arc<World>,
    pub(super) route: Route,
}

pub(super) struct Connection {
    world: Arc<World>,
    pub(super) route: Route,
    pub(super) peer: Peer,
    timeout: Duration,
    pushes: Pushes,
    up: mpsc::UnboundedSender<Arriving>,
    is_broken: AtomicBool,
    /// Wakes in the order of waiting, which a watch channel does not.
    broken: Notify,
}

impl Connector for Network {
    fn connect(&self, timeout: Duration, pushes: Pushes) -> RedisFuture<'_, Arc<dyn Client>> {
        Box::pin(async move { Ok(self.open(timeout, pushes).await? as Arc<dyn Client>) })
    }
}

impl Network {
    pub(super) async fn open(&self, timeout: Duration, pushes: Pushes) -> RedisResult<Arc<Connection>> {
        let Self { world, route } = self;
        sleep(world.latency(*route)).await;
        if world.has_crashed(route.process) {
            return std::future::pending().await;
        }
        if let Some(stalled) = world.stalls(*route, None) {
            sleep(stalled.min(timeout)).await;
            if stalled > timeout {
                return Err(error(TimedOut));
            }
        }
        let Some(peer) = world.accept(route.site) else { return Err(error(ConnectionRefused)) };
        world.tell(|| format!("{route} connects"));
        let (up, requests) = mpsc::unbounded_channel();
        let (down, replies) = mpsc::unbounded_channel();
        let (route, is_broken, broken) = (*route, AtomicBool::new(false), Notify::new());
        let connection =
            Arc::new(Connection { world: world.clone(), route, peer, timeout, pushes, up, is_broken, broken });
        world.connected(&connection, down.clone());
        tokio::spawn(uplink(world.clone(), Arc::downgrade(&connection), (route.process, peer), requests, down));
        tokio::spawn(downlink(world.clone(), Arc::downgrade(&connection), route, replies));
        Ok(connection)
    }
}

impl Connection {
    pub(super) fn push(&self, channel: &[u8], message: &[u8]) {
        if !self.is_broken() && !self.world.has_crashed(self.route.process) {
            let told = || String::from_utf8_lossy(message).replace('\u{1f}', "/");
            self.world.tell(|| format!("{} is told {}", self.route, told()));
            (self.pushes)(Push::Message { channel, message });
        }
    }

    /// Breaks the connection. Requests that are under way get no reply.
    pub(super) fn disconnect(&self) {
        if !self.is_broken.swap(true, Ordering::Relaxed) {
            self.broken.notify_waiters();
            self.world.tell(|| format!("{} is disconnected", self.route));
            // No variant hides this: a report, at most a second later, finds that the connection is broken.
            (self.pushes)(Push::Disconnected);
        }
    }

    pub(super) fn world(&self) -> Arc<World> {
        self.world.clone()
    }

    pub(super) fn is_broken(&self) -> bool {
        self.is_broken.load(Ordering::Relaxed)
    }

    async fn ask(&self, mut words: Words) -> RedisResult<Value> {
        if self.world.has_crashed(self.route.process) {
            return std::future::pending().await;
        }
        let mut delay = Duration::ZERO;
        if let Some(flaw) = self.world.flaw() {
            if flaw == Flaw::ConfirmsAtOnce && words[0] == b"WAIT" {
                return Ok(Value::Int(1));
            }
            delay = flaw.alters(&mut words);
        }
        let breaks = self.world.suffers(self.route);
        if self.is_broken() {
            return Err(error(BrokenPipe));
        }
        let (reply, answer) = oneshot::channel();
        let at = self.world.now() + self.world.latency(self.route) + delay;
        _ = self.up.send(Arriving { words, at, reply });
        let mut broken = pin!(self.broken.notified());
        broken.as_mut().enable();
        if let Some(late) = breaks {
            self.world.breaks(self.route, late);
        }
        tokio::select! {
            biased;
            answer = answer => answer.unwrap_or_else(|_| Err(error(BrokenPipe))),
            () = broken => Err(error(BrokenPipe)),
            () = sleep(self.timeout) => Err(error(TimedOut)),
        }
    }
}

impl Client for Connection {
    fn send<'a>(&'a self, command: &'a Cmd, _: Option<u16>) -> RedisFuture<'a, Value> {
        Box::pin(self.ask(words(command)))
    }

    fn subscribe<'a>(&'a self, channel: &'a str) -> RedisFuture<'a, ()> {
        Box::pin(async move {
            let words: Words = vec![b"SUBSCRIBE".to_vec(), channel.as_bytes().to_vec()];
            if self.world.flaw() == Some(Flaw::SubscribesLater) {
                let (reply, _) = oneshot::channel();
                let at = self.world.now() + self.world.latency(self.route);
                _ = self.up.send(Arriving { words, at: at + Flaw::LATER, reply });
                return Ok(());
            }
            self.ask(words).await.map(|_| ())
        })
    }

    fn unsubscribe<'a>(&'a self, channel: &'a str) -> RedisFuture<'a, ()> {
        Box::pin(async move {
            if self.world.flaw() == Some(Flaw::NeverUnsubscribes) {
                return Ok(());
            }
            self.ask(vec![b"UNSUBSCRIBE".to_vec(), channel.as_bytes().to_vec()]).await.map(|_| ())
        })
    }
}

impl Down {
    /// Arrives at the process.
    pub(super) fn arrive(self, connection: &Connection) {
        match self {
            Self::Reply(Reply { to, answer, answered }) => {
                if let (Ok(()), Some(answered)) = (to.send(answer), answered) {
                    connection.world.ledger(|ledger, _| ledger.has_answer(&answered));
                }
            }
            Self::Push(push) => connection.push(&push.channel, &push.message),
        }
    }
}

pub(super) fn error(kind: std::io::ErrorKind) -> RedisError {
    std::io::Error::from(kind).into()
}

fn words(command: &Cmd) -> Words {
    let word = |word: Arg<&[u8]>| if let Arg::Simple(bytes) = word { bytes.to_vec() } else { b"0".to_vec() };
    command.args_iter().map(word).collect()
}
