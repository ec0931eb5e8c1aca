//! Messages on their way.

use redis::{PushKind, Value};

use crate::client::ClientId;
use crate::value::bulk;

/// A message that a server sends to a subscriber. If the subscriber is also the client of the call that published it,
/// [`crate::Version::sends_messages_first`] says whether the message comes before the reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    /// The connection that it is sent to.
    pub client: ClientId,
    /// The channel.
    pub channel: Vec<u8>,
    /// The message.
    pub message: Vec<u8>,
}

impl Push {
    /// The push as the redis crate reads it from a connection.
    #[must_use]
    pub fn value(&self) -> Value {
        Value::Push { kind: PushKind::Message, data: vec![bulk(&self.channel), bulk(&self.message)] }
    }
}

/// A message that a node of a cluster sends to all other nodes, which deliver it with [`crate::Server::deliver`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broadcast {
    /// The channel.
    pub channel: Vec<u8>,
    /// The message.
    pub message: Vec<u8>,
}
