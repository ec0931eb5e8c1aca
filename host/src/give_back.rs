//! Giving back what nobody came to own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::{Cache, Delete};

/// Takes `value` out of the line for `key` if it may be `in_line`, and deletes `key` if `value` lies there: once a second until
/// the cache has said what became of it, or until it is `gone` anyway. A cache that says that there is no such key is asked
/// once more: the request may only just be on its way.
pub(crate) async fn give_back(cache: Arc<dyn Cache>, key: String, value: String, mut in_line: bool, gone: Instant) {
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    let mut absent = 0;
    while absent < 2 && Instant::now() < gone {
        seconds.tick().await;
        if in_line {
            if cache.leave(&key, &value).await.is_err() {
                continue;
            }
            // Whatever was asked before that is done.
            (in_line, absent) = (false, 1);
        }
        match cache.delete_if_equal(&key, &value).await {
            Ok(Delete::Deleted | Delete::Different) => return,
            Ok(Delete::Absent) => absent += 1,
            Err(_) => {}
        }
    }
}
