//! A process' way to the world.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use crate::process::{Awaits, Unanswered};
use crate::request::{Reply, Request};
use crate::table::Micros;
use crate::world::World;

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
    pub(crate) fn another(&self, host: usize) -> Self {
        let process = self.world().add_process(host);
        Self { world: self.world.clone(), process }
    }

    /// Sends a request and waits for its reply.
    pub(crate) async fn exchange(&self, request: Request) -> Result<Reply, Unanswered> {
        self.world().send(self.process, request);
        poll_fn(|_| self.world().replied(self.process)).await
    }

    pub(crate) async fn sleep_until(&self, time: Micros) {
        self.world().processes[self.process].awaits = Awaits::Time(time);
        poll_fn(|_| if self.now() >= time { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    /// Waits until `until`, or until this process' waiter is woken. Returns for how long.
    pub(crate) async fn sleep_until_woken(&self, until: Micros) -> Micros {
        let began = {
            let mut world = self.world();
            world.processes[self.process].awaits = Awaits::Wakeup { until };
            world.now
        };
        poll_fn(|_| {
            let mut world = self.world();
            let (now, host) = (world.now, world.processes[self.process].host);
            let woken = world.clients[host].waiter(self.process);
            let woken = woken.is_some_and(|waiter| waiter.look || waiter.hand_off.is_some());
            if woken || now >= until { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        self.now().min(until).saturating_sub(began)
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
