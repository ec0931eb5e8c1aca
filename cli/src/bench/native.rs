//! What a program would do that has the same scripts and no locker.

use std::time::Duration;

use anyhow::{Result, bail};
use redis::aio::MultiplexedConnection;
use redis::{Script, Value};

const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// A use-by beyond all clocks.
const NEVER: u64 = 1 << 53;

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
                include_str!("lua/set_free.lua"),
                include_str!("lua/fence.lua"),
                include_str!("lua/value.lua"),
                include_str!("lua/queue.lua"),
                include_str!("lua/final.lua"),
                include_str!("lua/set.lua")
            )),
            delete: Script::new(concat!(
                include_str!("lua/delete_alone.lua"),
                include_str!("lua/value.lua"),
                include_str!("lua/fence.lua"),
                include_str!("lua/queue.lua"),
                include_str!("lua/release.lua"),
                include_str!("lua/delete.lua")
            )),
        })
    }

    /// Takes a lock and releases it.
    pub(super) async fn pair(&mut self, name: &str) -> Result<()> {
        let keys = ["", ":fence", ":queue", ":withdrawn"].map(|what| format!("{}{name}{what}", self.prefix));
        let token = token()?;
        let mut set = self.set.prepare_invoke();
        set.key(&keys[..]).arg(NEVER).arg(0).arg(&token).arg(60_000);
        let set: (u64, String, Value, Value) = set.invoke_async(&mut self.connection).await?;
        let mut delete = self.delete.prepare_invoke();
        delete.key(&keys[0]).key(&keys[2]).arg(NEVER).arg(&token);
        let deleted: (u64, String) = delete.invoke_async(&mut self.connection).await?;
        if (&set.1[..], &deleted.1[..]) != ("stored", "deleted") {
            bail!("another program uses the keys of this measurement");
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

    /// Wakes a waiter.
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
