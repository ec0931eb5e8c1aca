//! A lock that is held, on a server of its own.

use locker_host::{Lease, Locker, UnlockOutcome};

use super::{LONG, RedisServer, Waiter, granted, waiting_options};

/// The lock `job`.
pub(crate) struct HeldLock {
    pub(crate) server: RedisServer,
    pub(crate) holder: Locker,
    pub(crate) lease: Lease,
}

impl HeldLock {
    pub(crate) async fn start() -> Self {
        let server = RedisServer::start().await;
        let holder = server.locker();
        let lease = granted(holder.lock("job", LONG).await);
        Self { server, holder, lease }
    }

    /// A queued caller of another host.
    pub(crate) async fn waiter(&self) -> Waiter {
        self.server.waiter(self.server.locker(), waiting_options()).await
    }

    pub(crate) async fn release(&self) {
        assert_eq!(self.holder.unlock("job", &self.lease.token).await.unwrap(), UnlockOutcome::Released);
    }
}
