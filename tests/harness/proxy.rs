//! A TCP proxy in front of a server, that fails as networks do.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use locker_host::Redis;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

use super::RedisServer;

/// What goes wrong, once, with the next request or message that contains a word.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// The connection is cut, and the request never arrives.
    LoseRequest(&'static str),
    /// The request arrives and is done, but the connection is cut before the answer comes.
    LoseAnswer(&'static str),
    /// The request arrives and is done, but no answer ever comes.
    Stall(&'static str),
    /// The request arrives late.
    Delay(&'static str, Duration),
    /// The connection is cut, and the request arrives late all the same, though no answer can.
    Late(&'static str, Duration),
    /// The request arrives and is done at once, but its answer comes late, and so does all that follows it.
    DelayAnswer(&'static str, Duration),
    /// What the server says with this word in it comes late, and so does all that follows it.
    DelayMessage(&'static str, Duration),
}

impl Fault {
    fn strikes_request(self, request: &[u8]) -> bool {
        match self {
            Self::LoseRequest(word)
            | Self::LoseAnswer(word)
            | Self::Stall(word)
            | Self::Delay(word, _)
            | Self::Late(word, _)
            | Self::DelayAnswer(word, _) => contains(request, word),
            Self::DelayMessage(..) => false,
        }
    }

    fn strikes_message(self, message: &[u8]) -> bool {
        matches!(self, Self::DelayMessage(word, _) if contains(message, word))
    }
}

#[derive(Default)]
struct Faults {
    next: Mutex<Option<Fault>>,
    /// How many requests the server has handled that came late.
    handled_late: AtomicUsize,
}

pub(crate) struct Proxy {
    port: u16,
    faults: Arc<Faults>,
    open: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Proxy {
    pub(crate) async fn start(server: &RedisServer) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (open, gate) = watch::channel(true);
        let faults = Arc::<Faults>::default();
        let (upstream, all_faults) = (server.port(), faults.clone());
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (faults, mut gate) = (all_faults.clone(), gate.clone());
                connections.spawn(async move {
                    gate.wait_for(|open| *open).await.ok()?;
                    let server = TcpStream::connect(("127.0.0.1", upstream)).await.ok()?;
                    carry(client, server, &faults).await
                });
            }
        });
        Self { port, faults, open, task }
    }

    /// A store that is reached through the proxy.
    pub(crate) fn redis(&self) -> Redis {
        Redis::open(&self.url()).unwrap()
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Lets something go wrong.
    pub(crate) fn next(&self, fault: Fault) {
        *self.faults.next.lock().unwrap() = Some(fault);
    }

    /// Whether what should go wrong has done so.
    pub(crate) fn has_failed(&self) -> bool {
        self.faults.next.lock().unwrap().is_none()
    }

    /// How many requests the server has handled that came late.
    pub(crate) fn handled_late(&self) -> usize {
        self.faults.handled_late.load(Ordering::SeqCst)
    }

    /// Keeps new connections waiting until it is opened again.
    pub(crate) fn shut(&self) {
        self.open.send(false).unwrap();
    }

    pub(crate) fn reopen(&self) {
        self.open.send(true).unwrap();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Carries bytes both ways until one side closes or the fault strikes.
async fn carry(mut client: TcpStream, mut server: TcpStream, faults: &Faults) -> Option<()> {
    let (mut request, mut answer) = ([0; 4096], [0; 4096]);
    // What the client is to be sent is held back until then.
    let (mut until, mut held_back) = (None, Vec::new());
    loop {
        tokio::select! {
            read = client.read(&mut request) => {
                let request = &request[..read.ok().filter(|read| *read > 0)?];
                let struck = faults.next.lock().unwrap().take_if(|fault| fault.strikes_request(request));
                match struck {
                    Some(Fault::LoseRequest(_)) => return None,
                    Some(Fault::LoseAnswer(_)) => {
                        server.write_all(request).await.ok()?;
                        // Some of the answer is there, so the request was done.
                        return server.read(&mut answer).await.ok().and(None);
                    }
                    Some(Fault::Stall(_)) => {
                        server.write_all(request).await.ok()?;
                        return std::future::pending().await;
                    }
                    Some(Fault::Delay(_, time)) => {
                        tokio::time::sleep(time).await;
                        server.write_all(request).await.ok()?;
                        let read = server.read(&mut answer).await.ok()?;
                        faults.handled_late.fetch_add(1, Ordering::SeqCst);
                        client.write_all(&answer[..read]).await.ok()?;
                    }
                    Some(Fault::Late(_, time)) => {
                        drop(client);
                        tokio::time::sleep(time).await;
                        server.write_all(request).await.ok()?;
                        server.read(&mut answer).await.ok().filter(|read| *read > 0)?;
                        faults.handled_late.fetch_add(1, Ordering::SeqCst);
                        return None;
                    }
                    Some(Fault::DelayAnswer(_, time)) => {
                        until = Some(Instant::now() + time);
                        server.write_all(request).await.ok()?;
                    }
                    Some(Fault::DelayMessage(..)) | None => server.write_all(request).await.ok()?,
                }
            }
            read = server.read(&mut answer), if until.is_none() => {
                let answer = &answer[..read.ok().filter(|read| *read > 0)?];
                let late = faults.next.lock().unwrap().take_if(|fault| fault.strikes_message(answer));
                if let Some(Fault::DelayMessage(_, time)) = late {
                    until = Some(Instant::now() + time);
                    held_back = answer.to_vec();
                } else {
                    client.write_all(answer).await.ok()?;
                }
            }
            () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => {
                client.write_all(&std::mem::take(&mut held_back)).await.ok()?;
                until = None;
            }
        }
    }
}

fn contains(bytes: &[u8], word: &str) -> bool {
    bytes.windows(word.len()).any(|window| window == word.as_bytes())
}
