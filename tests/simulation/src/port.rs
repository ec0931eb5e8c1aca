//! A process' way to the world.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use crate::store::{Answer, Micros, Request};
use crate::world::{Awaits, Unanswered, World};

/// A process' way to the world. Its futures are ready when the scheduler has made them so.
#[derive(Clone)]
pub(crate) struct Port {
    world: Arc<Mutex<World>>,
    process: usize,
}

impl Port {
    pub(crate) fn new(world: Arc<Mutex<World>>, process: usize) -> Self {
        Self { world, process }
    }

    pub(crate) fn process(&self) -> usize {
        self.process
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        lock(&self.world)
    }

    pub(crate) fn now(&self) -> Micros {
        self.world().now
    }

    pub(crate) fn host(&self) -> usize {
        self.world().processes[self.process].host
    }

    /// The same world, for another process on the same machine.
    pub(crate) fn another(&self) -> Self {
        let mut world = self.world();
        let host = world.processes[self.process].host;
        let process = world.enter(host);
        Self { world: self.world.clone(), process }
    }

    /// Sends a request and waits for its answer.
    pub(crate) async fn exchange(&self, request: Request) -> Result<Answer, Unanswered> {
        self.world().send(self.process, request);
        poll_fn(|_| self.world().answered(self.process)).await
    }

    pub(crate) async fn sleep_until(&self, time: Micros) {
        self.world().processes[self.process].awaits = Awaits::Time(time);
        poll_fn(|_| if self.now() >= time { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    /// Listens for the end of a key from here on, until [`Port::nap`] is over.
    pub(crate) fn listen(&self, key: &str) {
        self.world().processes[self.process].listens = Some((key.to_owned(), false));
    }

    /// Waits until `until`, or until the key that is listened for goes away.
    pub(crate) async fn nap(&self, until: Micros) {
        let began = {
            let mut world = self.world();
            world.processes[self.process].awaits = Awaits::Wakeup { until };
            world.now
        };
        poll_fn(|_| {
            let world = self.world();
            let woken = world.processes[self.process].listens.as_ref().is_some_and(|(_, woken)| *woken);
            if woken || world.now >= until { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        let mut world = self.world();
        let napped = world.now.min(until).saturating_sub(began);
        let process = &mut world.processes[self.process];
        process.listens = None;
        if let Some(id) = process.call.as_ref().map(|call| call.id) {
            let call = &mut world.ledger.calls[id];
            call.napped += napped;
            call.naps += 1;
        }
    }

    /// The result of a call, unless it is given up or takes too long.
    pub(crate) async fn within<T>(&self, call: impl Future<Output = T>) -> Option<T> {
        let mut call = pin!(call);
        poll_fn(|context| {
            let interrupted = {
                let world = self.world();
                let current = world.processes[self.process].call.as_ref();
                current.is_some_and(|current| current.cancelled || world.now >= current.deadline)
            };
            if interrupted { Poll::Ready(None) } else { call.as_mut().poll(context).map(Some) }
        })
        .await
    }
}

pub(crate) fn lock(world: &Mutex<World>) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}
