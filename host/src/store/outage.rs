//! Outages that a store outlasts while a caller waits: the call goes on, so its answer cannot tell of them.

use std::sync::Arc;

use super::CacheError;

/// Hears of each failure that a store outlasts, and then, with none, that the store answers again.
pub(crate) type Observer = Arc<dyn Fn(Option<&CacheError>) + Send + Sync>;

tokio::task_local! {
    /// The observer of the call that the current task makes.
    static OBSERVER: Observer;
}

/// Makes a call whose outages are observed.
pub(crate) async fn observed<T>(observer: Observer, call: impl Future<Output = T>) -> T {
    OBSERVER.scope(observer, call).await
}

/// Says that the store failed, and that the call goes on, or with none that the store answers.
#[cfg_attr(not(feature = "redis"), expect(dead_code, reason = "only waiters on Redis outlast outages by themselves"))]
pub(crate) fn outlasted(failure: Option<&CacheError>) {
    // Most calls have no observer.
    _ = OBSERVER.try_with(|observer| observer(failure));
}
