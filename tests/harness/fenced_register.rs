//! What a lock guards, on a server of its own: the recipe for Redis in docs/guarantees.md.

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisResult};

use super::LONG;

const WRITE: &str = "
if tonumber(ARGV[1]) < tonumber(redis.call('HGET', KEYS[1], 'fence') or 0) then return 'refused' end
redis.call('HSET', KEYS[1], 'fence', ARGV[1], 'value', ARGV[2])
return 'written'";

/// A register that refuses a write with a lower fence than an earlier one.
#[derive(Clone)]
pub(crate) struct FencedRegister(MultiplexedConnection);

impl FencedRegister {
    pub(crate) async fn connect(url: String) -> Self {
        let client = redis::Client::open(url).unwrap();
        // The usual half a second is not enough on a machine that is busy.
        let patient = Some(LONG / 2);
        let config = AsyncConnectionConfig::new().set_connection_timeout(patient).set_response_timeout(patient);
        Self(client.get_multiplexed_async_connection_with_config(&config).await.unwrap())
    }

    /// Answers whether the write was accepted.
    pub(crate) async fn write(&mut self, fence: u64) -> RedisResult<bool> {
        let mut write = redis::cmd("EVAL");
        write.arg(WRITE).arg(1).arg("account").arg(fence).arg("a value");
        Ok(write.query_async::<String>(&mut self.0).await? == "written")
    }
}
