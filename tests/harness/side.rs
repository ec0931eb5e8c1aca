//! The callers on one side of a network.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use super::{Host, until_elected};

/// A host of callers. They run in this process, and use the network from there.
pub(crate) struct Side {
    pub(crate) host: Arc<Host>,
    runtime: Option<Runtime>,
    pub(crate) seen: Arc<Seen>,
}

/// How the callers fared.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) grants: AtomicUsize,
    pub(crate) errors: AtomicUsize,
}

impl Side {
    pub(crate) fn new(host: Arc<Host>) -> Self {
        let runtime = Some(host.runtime());
        Self { host, runtime, seen: Arc::default() }
    }

    /// Runs a task on this side.
    pub(crate) fn spawn<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.runtime.as_ref().expect("it runs until it is dropped").spawn(task)
    }

    pub(crate) fn grants(&self) -> usize {
        self.seen.grants.load(Ordering::SeqCst)
    }

    /// Waits until the callers have been granted the lock some more times.
    #[track_caller]
    pub(crate) fn is_granted_the_lock(&self) -> impl Future<Output = ()> {
        increases(&self.seen.grants)
    }

    /// Waits until some more calls have failed.
    #[track_caller]
    pub(crate) fn is_refused(&self) -> impl Future<Output = ()> {
        increases(&self.seen.errors)
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        // Callers that hang must not keep a test that has failed.
        self.runtime.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

#[track_caller]
fn increases(count: &AtomicUsize) -> impl Future<Output = ()> {
    let before = count.load(Ordering::SeqCst);
    until_elected(async move || count.load(Ordering::SeqCst) > before + 20)
}
