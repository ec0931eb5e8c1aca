//! What each command does.

pub(crate) mod collections;
pub(crate) mod connection;
pub(crate) mod keys;
pub(crate) mod pubsub;
pub(crate) mod scan;
pub(crate) mod server;
pub(crate) mod sorted_sets;
pub(crate) mod strings;
