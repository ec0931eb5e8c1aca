//! A connection to a real server on which every frame is seen, in order.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use redis::{Parser, PushKind, Value};

use super::words;

pub(super) struct Wire {
    stream: TcpStream,
    parser: Parser,
    /// The messages that arrived.
    pub(super) messages: Vec<Value>,
}

impl Wire {
    pub(super) fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut wire = Self { stream, parser: Parser::new(), messages: Vec::new() };
        _ = wire.call(&words(&["HELLO", "3"]));
        wire
    }

    /// Sends a command, and answers the first frame that is no message.
    pub(super) fn call(&mut self, command: &[String]) -> Value {
        let mut request = format!("*{}\r\n", command.len());
        command.iter().for_each(|word| request += &format!("${}\r\n{word}\r\n", word.len()));
        self.stream.write_all(request.as_bytes()).unwrap();
        loop {
            match self.parser.parse_value(&mut self.stream).unwrap() {
                message @ Value::Push { kind: PushKind::Message, .. } => self.messages.push(message),
                reply => return reply,
            }
        }
    }

    /// Receives messages until there are so many. Those from another node take a while.
    pub(super) fn receive(&mut self, count: usize) {
        let started = Instant::now();
        self.drain();
        while self.messages.len() < count && started.elapsed() < Duration::from_secs(2) {
            self.drain();
        }
    }

    /// Receives the messages that were sent before this.
    pub(super) fn drain(&mut self) {
        _ = self.call(&words(&["PING"]));
    }
}
