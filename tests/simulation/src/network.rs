//! What is on its way to the server. Answers are not here: they arrive when their process goes on.

use crate::store::Request;

/// A request on its way.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) id: u64,
    pub(crate) host: usize,
    pub(crate) process: usize,
    /// The call that it was sent by, or on whose behalf.
    pub(crate) call: Option<usize>,
    pub(crate) request: Request,
    route: Route,
}

impl Message {
    /// The same message, with another request in it.
    pub(crate) fn asking(self, request: Request) -> Self {
        Self { request, ..self }
    }
}

/// What a message can be overtaken by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    /// Nothing that goes through the same connection.
    Connection(u64),
    /// Anything but the original.
    CopyOf(u64),
}

/// All messages on their way, in the order in which they were sent.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) messages: Vec<Message>,
    /// The connection of each client. It has a new one as soon as the last one was lost.
    connections: Vec<u64>,
    /// Whether messages survive the connection that they were sent through.
    strays: bool,
    sent: u64,
}

impl Network {
    pub(crate) fn new(strays: bool) -> Self {
        Self { messages: Vec::new(), connections: Vec::new(), strays, sent: 0 }
    }

    pub(crate) fn know(&mut self, host: usize) {
        let hosts = self.connections.len().max(host + 1);
        self.connections.resize(hosts, 0);
    }

    pub(crate) fn hosts(&self) -> usize {
        self.connections.len()
    }

    pub(crate) fn send(&mut self, host: usize, process: usize, call: Option<usize>, request: Request) -> u64 {
        self.sent += 1;
        let route = Route::Connection(self.connections[host]);
        self.messages.push(Message { id: self.sent, host, process, call, request, route });
        self.sent
    }

    /// Whether a message can be the next that the server reads.
    pub(crate) fn is_next(&self, index: usize) -> bool {
        let Message { host, route, .. } = self.messages[index];
        match route {
            Route::Connection(_) => {
                !self.messages[..index].iter().any(|other| other.host == host && other.route == route)
            }
            Route::CopyOf(original) => !self.messages.iter().any(|other| other.id == original),
        }
    }

    /// Whether somebody may still wait for the answer.
    pub(crate) fn is_connected(&self, index: usize) -> bool {
        let message = &self.messages[index];
        message.route == Route::Connection(self.connections[message.host])
    }

    pub(crate) fn take(&mut self, index: usize) -> Message {
        self.messages.remove(index)
    }

    /// A message whose request is half done. Without a place, nobody waits for its answer any more.
    pub(crate) fn put_back(&mut self, place: Option<usize>, mut message: Message) {
        match place {
            Some(index) => self.messages.insert(index, message),
            None => {
                message.route = Route::CopyOf(message.id + u64::MAX / 2);
                self.messages.push(message);
            }
        }
    }

    /// The same request once more, at any time after the original.
    pub(crate) fn duplicate(&mut self, index: usize) {
        self.sent += 1;
        let original = &self.messages[index];
        let copy = Message { id: self.sent, route: Route::CopyOf(original.id), ..original.clone() };
        self.messages.push(copy);
    }

    /// Ends a client's connection and returns what was sent through it, with the processes that wait for answers.
    pub(crate) fn cut(&mut self, host: usize, late: bool) -> Vec<(u64, usize)> {
        let ours = Route::Connection(self.connections[host]);
        self.connections[host] += 1;
        let is_cut = |message: &Message| message.host == host && message.route == ours;
        let cut = self.messages.iter().filter(|message| is_cut(message)).map(|message| (message.id, message.process));
        let cut = cut.collect();
        if !(late && self.strays) {
            self.messages.retain(|message| !is_cut(message));
        }
        cut
    }

    /// Whether a value may still come to be stored by what is on its way.
    pub(crate) fn may_store(&self, stored: &str) -> bool {
        self.messages.iter().any(|message| matches!(&message.request, Request::Set { value, .. } if value == stored))
    }
}
