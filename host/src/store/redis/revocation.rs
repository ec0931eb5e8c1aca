//! Telling the holder of a lock that it was taken from it.
//!
//! All clients that hold locks under a prefix listen on one channel. Revocations are rare, so that costs less than a channel for each.

use std::future::ready;
use std::time::Duration;

use redis::cmd;
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::Redis;
use super::keys::{SEPARATOR, revocations};
use super::pubsub::{Place, Subscriber};
use super::retry::Request;
use crate::store::{CacheError, ErrorKind, Revocation};

/// When the server is asked again if it is away.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// What a message has in the place of a waiter's value.
const REVOKED: &str = "revoked";

impl Redis {
    /// Publishes `NAME␟revoked␟FENCE␟0`.
    pub(super) async fn publish_revocation(&self, name: &str, fence: u64) -> Result<(), CacheError> {
        let message = [name, REVOKED, &fence.to_string(), "0"].join(&SEPARATOR.to_string());
        let mut publish = cmd("PUBLISH");
        publish.arg(revocations(&self.prefix)).arg(message);
        self.connection.execute(&Request::Command(&publish)).await
    }

    /// Returns when the server notifies this client. None if it does not allow that.
    pub(super) async fn subscribe_to_revocations(&self, name: &str, fence: u64) -> Option<Revocation> {
        let (redis, name, (subscribed, mut began)) = (self.clone(), name.to_owned(), oneshot::channel());
        let mut revocation: Revocation = Box::pin(async move {
            let channel = revocations(&redis.prefix);
            let place = Place { channel: &channel, queue: "", name: &name, value: REVOKED, waits: false, entry: "" };
            let subscriber = redis.subscriber(place);
            while let Err(error) = redis.connection.subscribe(&subscriber, &channel).await {
                if error.kind() != ErrorKind::Unavailable {
                    return false;
                }
                sleep(RETRY_DELAY).await;
            }
            // It fails if the listener is gone.
            _ = subscribed.send(());
            revoked(&subscriber, fence).await
        });
        let told = tokio::select! {
            biased;
            told = &mut revocation => told,
            _ = &mut began => return Some(revocation),
        };
        // The message may come before the answer to the subscription.
        began.try_recv().ok().map(|()| Box::pin(ready(told)) as Revocation)
    }
}

/// Resolves to true when the lock with this fence was revoked, and to false when the connection was lost.
async fn revoked(subscriber: &Subscriber<'_>, fence: u64) -> bool {
    loop {
        subscriber.woken().await;
        match subscriber.take_hand_off() {
            Some(revoked) if revoked.fence == fence => return true,
            Some(_) => {}
            None if subscriber.take_must_confirm() => return false,
            None => {}
        }
    }
}
