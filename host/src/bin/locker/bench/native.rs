//! What a program would do that has the same scripts and no locker.

use std::time::Duration;

use anyhow::{Result, bail};
use redis::aio::MultiplexedConnection;
use redis::{Script, Value};

const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A connection, and the scripts of the locker's own store.
pub(super) struct Native {
    connection: MultiplexedConnection,
    prefix: String,
    set: Script,
    delete: Script,
}

impl Native {
    pub(super) async fn connect(url: &str, prefix: &str) -> Result<Self> {
        // As the locker speaks to its server.
        let separator = if url.contains('?') { '&' } else { '?' };
        let client = redis::Client::open(format!("{url}{separator}protocol=resp3"))?;
        // A signal may take longer than the half second that an answer usually may.
        let config = redis::AsyncConnectionConfig::new().set_response_timeout(Some(LONGEST_WAIT * 2));
        Ok(Self {
            connection: client.get_multiplexed_async_connection_with_config(&config).await?,
            prefix: prefix.to_owned(),
            set: Script::new(concat!(
                include_str!("../../../redis/fence.lua"),
                include_str!("../../../redis/set.lua"),
                include_str!("../../../redis/set_if_absent.lua")
            )),
            delete: Script::new(concat!(
                include_str!("../../../redis/fence.lua"),
                include_str!("../../../redis/place.lua"),
                include_str!("../../../redis/delete_if_equal.lua")
            )),
        })
    }

    /// Takes a lock and releases it.
    pub(super) async fn pair(&mut self, name: &str) -> Result<()> {
        let [key, fence, line] = ["", ":fence", ":line"].map(|what| format!("{}{name}{what}", self.prefix));
        let token = token()?;
        let mut set = self.set.key(&key);
        let (_, _, other): (u64, i64, Option<Value>) =
            set.key(&fence).arg(&token).arg(60_000).arg(120_000).invoke_async(&mut self.connection).await?;
        let mut delete = self.delete.key(key);
        let deleted: i64 = delete.key(fence).key(line).arg(&token).invoke_async(&mut self.connection).await?;
        if other.is_some() || deleted != 1 {
            bail!("somebody else uses the keys of this measurement");
        }
        Ok(())
    }

    /// Waits for a signal to be given.
    pub(super) async fn wait(&mut self, signal: &str) -> Result<()> {
        let key = format!("{}{signal}:signal", self.prefix);
        let _: Value =
            redis::cmd("BLPOP").arg(key).arg(LONGEST_WAIT.as_secs()).query_async(&mut self.connection).await?;
        Ok(())
    }

    /// Gives a signal to one who waits for it.
    pub(super) async fn signal(&mut self, signal: &str) -> Result<()> {
        let key = format!("{}{signal}:signal", self.prefix);
        redis::cmd("RPUSH").arg(key).arg("go").query_async(&mut self.connection).await.map_err(Into::into)
    }

    pub(super) async fn forget(&mut self, signal: &str) -> Result<()> {
        let key = format!("{}{signal}:signal", self.prefix);
        redis::cmd("DEL").arg(key).query_async(&mut self.connection).await.map_err(Into::into)
    }

    /// What the server has done so far.
    pub(super) async fn load(&mut self) -> Result<Load> {
        let stats: String = redis::cmd("INFO").arg("commandstats").query_async(&mut self.connection).await?;
        let mut load = Load { requests: 0, commands: 0 };
        for line in stats.lines() {
            let Some((command, rest)) = line.split_once(":calls=") else { continue };
            let calls: u64 = rest.split(',').next().unwrap_or_default().parse()?;
            load.commands += calls;
            // All else is done within scripts.
            if ["cmdstat_evalsha", "cmdstat_subscribe", "cmdstat_unsubscribe"].contains(&command) {
                load.requests += calls;
            }
        }
        Ok(load)
    }
}

/// What a server had to do.
pub(super) struct Load {
    /// Requests that were sent to it.
    pub(super) requests: u64,
    /// Commands, those within scripts included.
    pub(super) commands: u64,
}

fn token() -> Result<String> {
    let mut random = [0_u8; 16];
    getrandom::fill(&mut random)?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}
