//! A connection.

use std::collections::BTreeSet;

/// A connection of a client to one server. It ends with [`crate::Server::disconnect`] and [`crate::Server::kill`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub(crate) u64);

#[derive(Debug, Default)]
pub(crate) struct Client {
    pub(crate) database: u32,
    /// The name of the user, once the client is logged in.
    pub(crate) user: Option<String>,
    pub(crate) channels: BTreeSet<Vec<u8>>,
    /// The next command may use a slot that is still being imported.
    pub(crate) asking: bool,
    /// Reads from a replica are answered there.
    pub(crate) read_only: bool,
    /// How much of the history a replica must have applied to count for `WAIT` of this client.
    pub(crate) last_write: u64,
}
