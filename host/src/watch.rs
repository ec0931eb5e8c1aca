//! Watching the state of a lock.

use std::fmt;
use std::time::Duration;

use tokio::time::sleep;

use crate::component::operations::Operations;
use crate::{Error, ErrorKind, Holder};

/// The state of a lock, and each change of it. [`Locker::watch`](crate::Locker::watch) makes one.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), locker_host::Error> {
/// # use std::time::Duration;
/// # use locker_host::{Locker, Memory};
/// let locker = Locker::new(Memory::default())?;
/// let mut watch = locker.watch("job");
/// assert!(watch.changed().await?.is_none(), "it is free");
/// let lease = locker.lock("job", Duration::from_secs(30)).await?.granted().expect("it is free");
/// assert_eq!(watch.changed().await?.map(|holder| holder.fence), Some(lease.fence));
/// # Ok(())
/// # }
/// ```
pub struct Watch {
    operations: Operations,
    name: String,
    /// None until the first answer.
    seen: Option<State>,
}

/// What of a lock is compared: the fence, and whether its work is done. None if it is free.
type State = Option<(u64, bool)>;

/// How often a store is asked that cannot tell.
const RETRY_INTERVAL: Duration = Duration::from_millis(250);
/// How long after the end of a lease it looks: in its last millisecond, no time is left by the store's account, and the lock is still held.
const EXPIRY_DELAY: Duration = Duration::from_millis(1);
/// How long after a change was missed it is seen at the latest.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

impl Watch {
    pub(crate) fn new(operations: Operations, name: &str) -> Self {
        Self { operations, name: name.to_owned(), seen: None }
    }

    /// The first time, returns the holder as it is. Then waits until the lock has another holder, is free, or its work is done, and returns
    /// the holder as it is then. The store tells of changes, so this does not poll, except on a quorum. It misses a holder that came and went
    /// while it was not called. May be dropped at any time.
    ///
    /// # Errors
    /// [`ErrorKind`]. The next call returns the holder as it is then.
    pub async fn changed(&mut self) -> Result<Option<Holder>, Error> {
        loop {
            // It listens before it looks, so that it misses no change in between.
            let change = self.operations.cache().listen_for_change(&self.name).await;
            let holder = self.operations.inspect(&self.name).await.inspect_err(|_| self.seen = None)?;
            let state = holder.as_ref().map(|holder| (holder.fence, holder.done.is_some()));
            if self.seen != Some(state) {
                self.seen = Some(state);
                return Ok(holder);
            }
            let left = holder.and_then(|holder| holder.ttl).map_or(LOOK_INTERVAL, |left| left + EXPIRY_DELAY);
            match change {
                Ok(change) => tokio::select! {
                    biased;
                    () = change => {}
                    () = sleep(left.min(LOOK_INTERVAL)) => {}
                },
                Err(error) if error.kind() == ErrorKind::Unavailable => sleep(left.min(LOOK_INTERVAL)).await,
                // A user that may only read is not told.
                Err(_) => sleep(RETRY_INTERVAL).await,
            }
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("name", &self.name).field("seen", &self.seen).finish_non_exhaustive()
    }
}
