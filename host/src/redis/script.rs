//! What a server does as one step.

use redis::{Cmd, FromRedisValue, RedisResult, ServerErrorKind, Value, cmd};

use super::link::Link;

/// What is in the named files, one after the other.
macro_rules! script {
    ($($file:literal),+) => {
        std::sync::LazyLock::new(|| $crate::redis::script::Script::new(concat!($(include_str!($file)),+)))
    };
}
pub(super) use script;

pub(super) struct Script {
    code: &'static str,
    hash: String,
}

/// A script with what it is run on.
pub(super) struct Invocation<'a> {
    script: &'a Script,
    command: Cmd,
}

impl Script {
    pub(super) fn new(code: &'static str) -> Self {
        Self { code, hash: redis::Script::new(code).get_hash().to_owned() }
    }

    pub(super) fn on(&self, keys: &[&str], args: &[&str]) -> Invocation<'_> {
        let mut command = cmd("EVALSHA");
        command.arg(&self.hash).arg(keys.len()).arg(keys).arg(args);
        Invocation { script: self, command }
    }
}

impl Invocation<'_> {
    /// Runs it, and makes it known to a server that does not know it yet.
    pub(super) async fn run<T: FromRedisValue>(&self, link: &mut Link) -> RedisResult<T> {
        match self.command.query_async(link).await {
            Err(error) if error.kind() == ServerErrorKind::NoScript.into() => Box::pin(self.load_and_run(link)).await,
            answer => answer,
        }
    }

    async fn load_and_run<T: FromRedisValue>(&self, link: &mut Link) -> RedisResult<T> {
        // Whatever it says to that: the client's own way of doing this panics if it is not what it should be.
        let _: Value = cmd("SCRIPT").arg("LOAD").arg(self.script.code).query_async(link).await?;
        self.command.query_async(link).await
    }
}
