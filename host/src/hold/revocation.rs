//! Learning that a lock was revoked.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;

use crate::store::Cache;

/// How long a lock is held before the store is asked to tell of revocations: most are released sooner.
const LISTEN_DELAY: Duration = Duration::from_millis(100);

/// What the store told of one lock.
#[derive(Default)]
pub(super) struct Revocations {
    news: Notify,
    announced: AtomicBool,
}

impl Revocations {
    /// Listens for revocations. Each time that it has begun to listen, it asks for a renewal: an announcement may have been missed before.
    pub(super) async fn listen(&self, cache: &dyn Cache, name: &str, fence: u64) -> Infallible {
        loop {
            sleep(LISTEN_DELAY).await;
            let Some(revocation) = cache.listen_for_revocation(name, fence).await else { break };
            self.news.notify_one();
            self.announced.fetch_or(revocation.await, Ordering::SeqCst);
        }
        std::future::pending().await
    }

    /// Resolves when the lock may have been revoked.
    pub(super) async fn news(&self) {
        self.news.notified().await;
    }

    /// Whether a revocation was announced.
    pub(super) fn is_announced(&self) -> bool {
        self.announced.load(Ordering::SeqCst)
    }
}
