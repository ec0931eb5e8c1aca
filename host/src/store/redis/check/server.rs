//! One server, and how it is asked.

use redis::{Cmd, FromRedisValue, RedisResult};

use super::super::address::Address;
use super::super::client::{Client, query};
use crate::store::{Finding, Status};

/// One server; in a cluster, the primary of a slot.
pub(super) struct Server<'a> {
    pub(super) client: &'a dyn Client,
    pub(super) slot: Option<u16>,
    pub(super) name: &'a str,
    pub(super) address: &'a Address,
}

impl Server<'_> {
    pub(super) async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> RedisResult<T> {
        query(self.client, command, Some(self.slot.unwrap_or_default())).await
    }

    /// What a lock can do without. None if the server does not tell, or not to this user.
    pub(super) async fn read<T: FromRedisValue>(&self, command: &Cmd) -> RedisResult<Option<T>> {
        match self.ask(command).await {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if error.is_io_error() => Err(error),
            Err(_) => Ok(None),
        }
    }

    pub(super) fn finding(&self, subject: &str, status: Status, found: impl Into<String>) -> Finding {
        Finding::new(self.name, subject, status, found)
    }

    /// Something that this user may not read.
    pub(super) fn unknown(&self, subject: &str, what: &str, permission: &str) -> Finding {
        let user = self.address.user();
        self.finding(subject, Status::Warning, format!("{what} unknown: the user {user} may not read it"))
            .remedy(format!("permit {permission}, or ask the operator of the server"))
    }
}
