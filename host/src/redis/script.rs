//! What a server does as one step.

use std::time::Instant;

use redis::{Cmd, RedisResult, ServerErrorKind, Value, cmd};

use super::client::Client;
use super::clock::Reading;
use super::reply::Reply;

pub(super) struct Script {
    code: &'static str,
    hash: String,
    /// Whether its first argument is a use-by.
    writes: bool,
}

/// A script that is made of the named files, one after the other.
macro_rules! script {
    ($writes:expr, $($file:literal),+) => {
        std::sync::LazyLock::new(|| $crate::redis::script::Script::new(concat!($(include_str!(concat!("lua/", $file, ".lua")), "\n"),+), $writes))
    };
}
pub(super) use script;

/// A script with what it is run on. The use-by comes before the arguments.
pub(super) struct Invocation<'a> {
    pub(super) script: &'a Script,
    pub(super) slot: u16,
    pub(super) keys: &'a [&'a str],
    pub(super) args: &'a [&'a str],
}

impl Script {
    pub(super) fn new(code: &'static str, writes: bool) -> Self {
        Self { code, hash: redis::Script::new(code).get_hash().to_owned(), writes }
    }
}

impl Invocation<'_> {
    /// Runs it, to take effect by `use_by` in the server's time, and makes it known to a server that does not know it yet.
    pub(super) async fn run(&self, client: &mut Client, use_by: u64) -> RedisResult<Reply> {
        let command = self.command(use_by);
        let sent = Instant::now();
        let value = match command.query_async(client).await {
            Err(error) if error.kind() == ServerErrorKind::NoScript.into() => {
                // Boxed to keep the common future small.
                Box::pin(self.load_and_run(client, &command)).await?
            }
            answer => answer?,
        };
        let mut reply = Reply::parse(value)?;
        reply.reading = Reading { sent, received: Instant::now(), micros: reply.reading.micros };
        Ok(reply)
    }

    fn command(&self, use_by: u64) -> Cmd {
        let mut command = cmd("EVALSHA");
        command.arg(&self.script.hash).arg(self.keys.len()).arg(self.keys);
        if self.script.writes {
            command.arg(use_by);
        }
        command.arg(self.args);
        command
    }

    async fn load_and_run(&self, client: &mut Client, command: &Cmd) -> RedisResult<Value> {
        // The redis crate's own way of doing this panics if the answer is not what it should be.
        let _: Value = cmd("SCRIPT").arg("LOAD").arg(self.script.code).query_async(client).await?;
        command.query_async(client).await
    }
}
