//! What is on its way. Replies are not here: they arrive when their process goes on.

use crate::request::{Notice, Request};
use crate::table::Micros;

/// A request on its way.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) id: u64,
    pub(crate) host: usize,
    pub(crate) process: usize,
    /// The call that it was sent by, or on whose behalf.
    pub(crate) call: Option<usize>,
    pub(crate) request: Request,
    /// When its client gives up on it.
    pub(crate) gives_up: Micros,
    pub(crate) connection: u64,
    /// Whether it is the second half of a request that the server has read.
    detached: bool,
    /// The message that it repeats. The server reads both at once: a connection does not repeat what it was given earlier.
    copy_of: Option<u64>,
}

impl Message {
    /// The same message, with another request in it.
    pub(crate) fn asking(mut self, step: crate::request::Step) -> Self {
        self.request.step = step;
        self
    }
}

/// A message of the server on its way. It is lost with its connection.
#[derive(Clone, Debug)]
pub(crate) struct Push {
    pub(crate) connection: u64,
    pub(crate) notice: Notice,
}

/// All messages on their way, in the order in which they were sent.
#[derive(Debug, Default)]
pub(crate) struct Network {
    pub(crate) messages: Vec<Message>,
    pub(crate) pushes: Vec<Push>,
    /// The connection of each client. It has a new one as soon as the last one was lost.
    connections: Vec<u64>,
    sent: u64,
}

/// Who sends a request, and until when it is awaited.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sender {
    pub(crate) host: usize,
    pub(crate) process: usize,
    pub(crate) call: Option<usize>,
    pub(crate) gives_up: Micros,
}

impl Network {
    pub(crate) fn add_host(&mut self, host: usize) {
        let hosts = self.connections.len().max(host + 1);
        self.connections.resize(hosts, 0);
    }

    pub(crate) fn hosts(&self) -> usize {
        self.connections.len()
    }

    pub(crate) fn connection(&self, host: usize) -> u64 {
        self.connections[host]
    }

    pub(crate) fn send(&mut self, sender: Sender, request: Request) -> u64 {
        let Sender { host, process, call, gives_up } = sender;
        self.sent += 1;
        let connection = self.connections[host];
        let id = self.sent;
        self.messages.push(Message {
            id,
            host,
            process,
            call,
            request,
            gives_up,
            connection,
            detached: false,
            copy_of: None,
        });
        id
    }

    /// Whether a message can be the next that the server reads: a connection keeps the order.
    pub(crate) fn is_next(&self, index: usize) -> bool {
        let Message { host, connection, detached, .. } = self.messages[index];
        let ahead = |other: &Message| other.host == host && other.connection == connection && !other.detached;
        detached || !self.messages[..index].iter().any(ahead)
    }

    /// Whether the reply may still be awaited.
    pub(crate) fn is_connected(&self, index: usize) -> bool {
        let message = &self.messages[index];
        !message.detached && self.is_current(message.host, message.connection)
    }

    pub(crate) fn is_current(&self, host: usize, connection: u64) -> bool {
        self.connections[host] == connection
    }

    /// Whether the server has more to read from a connection.
    pub(crate) fn has_more(&self, host: usize, connection: u64) -> bool {
        self.messages.iter().any(|message| message.host == host && message.connection == connection)
    }

    /// Whether a message repeats another.
    pub(crate) fn is_copy_of(&self, index: usize, id: u64) -> bool {
        self.messages.get(index).is_some_and(|message| message.copy_of == Some(id))
    }

    pub(crate) fn take(&mut self, index: usize) -> Message {
        self.messages.remove(index)
    }

    /// A message whose request is half done. Without a place, its reply is not awaited any more.
    pub(crate) fn put_back(&mut self, place: Option<usize>, mut message: Message) {
        match place {
            Some(index) => self.messages.insert(index, message),
            None => {
                message.detached = true;
                self.messages.push(message);
            }
        }
    }

    /// The same request once more, right after the original.
    pub(crate) fn duplicate(&mut self, index: usize) {
        self.sent += 1;
        let original = self.messages[index].clone();
        let copy_of = original.copy_of.or(Some(original.id));
        let copy = Message { id: self.sent, copy_of, ..original };
        self.messages.insert(index + 1, copy);
    }

    /// The server publishes a message to a connection.
    pub(crate) fn publish(&mut self, connection: u64, notice: Notice) {
        if self.is_current(notice.client, connection) {
            self.pushes.push(Push { connection, notice });
        }
    }

    /// Ends a client's connection and returns what was sent through it, with the processes that await replies.
    pub(crate) fn cut(&mut self, host: usize, late: bool) -> Vec<(u64, usize)> {
        let ours = self.connections[host];
        self.connections[host] += 1;
        let is_cut = |message: &Message| message.host == host && message.connection == ours && !message.detached;
        let cut = self.messages.iter().filter(|message| is_cut(message)).map(|message| (message.id, message.process));
        let cut = cut.collect();
        if !late {
            self.messages.retain(|message| !is_cut(message));
        }
        self.pushes.retain(|push| push.notice.client != host || push.connection != ours);
        cut
    }

    /// Whether something is on its way from or to a client.
    pub(crate) fn is_busy(&self, host: usize) -> bool {
        self.messages.iter().any(|message| message.host == host)
            || self.pushes.iter().any(|push| push.notice.client == host)
    }
}
