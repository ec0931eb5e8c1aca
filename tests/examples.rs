//! The examples do what they say.

use crate::harness::{Command, RedisServer};

#[tokio::test]
async fn native_runs_on_memory_and_on_redis() {
    let server = RedisServer::start().await;
    for arguments in [&[][..], &[server.url().as_str()]] {
        let ran = Command::example("native", arguments).run().await;
        assert!(ran.code == Some(0) && ran.stdout.ends_with("\ndone\n"), "{ran:?}");
    }
    assert_eq!(server.keys().await, ["lock:\u{1f}fence{lock:nightly-report}"]);
}
