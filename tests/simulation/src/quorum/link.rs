//! What happens to a request on its way to a member, and to the answer on its way back.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use locker_host::{CacheError, ErrorKind};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::{Instant, sleep, sleep_until};

use super::plan::LinkHabits;
use super::request::{Reply, Request};
use super::world::World;

/// The way of one process to one member.
#[derive(Clone)]
pub(crate) struct Link {
    pub(crate) world: Arc<World>,
    pub(crate) process: usize,
    pub(crate) member: usize,
}

/// The latest time of effect, and when a client gives up.
const USE_BY: Duration = Duration::from_secs(5);

/// What happens to one copy of a request. None is a loss.
struct Fate {
    delay: Option<Duration>,
    reply_delay: Option<Duration>,
}

impl Link {
    /// Sends a request, and waits for the answer for as long as a client does.
    pub(crate) async fn ask(&self, request: Request) -> Result<(Instant, Reply), CacheError> {
        let sent = Instant::now();
        if self.world.state().crashed.contains(&self.process) {
            return Err(CacheError::new(ErrorKind::Denied, "the process has crashed"));
        }
        let (fates, refused) = self.fates();
        let (answer, mut answers) = unbounded_channel();
        for fate in fates {
            tokio::spawn(self.clone().deliver(request.clone(), fate, answer.clone()));
        }
        drop(answer);
        if let Some(reply) = answers.recv().await {
            return match reply {
                Reply::Late => Err(CacheError::new(ErrorKind::Unavailable, "too late")),
                Reply::Withdrawn => Err(CacheError::new(ErrorKind::Unavailable, "the request was withdrawn")),
                reply => Ok((sent, reply)),
            };
        }
        sleep_until(sent + if refused { Duration::from_millis(1) } else { USE_BY }).await;
        Err(CacheError::new(ErrorKind::Unavailable, "no answer"))
    }

    async fn deliver(self, request: Request, fate: Fate, answer: UnboundedSender<Reply>) {
        let sent = self.world.now();
        let Some(delay) = fate.delay else {
            return self.world.tell(|| format!("p{} -> m{}: {request}: lost", self.process, self.member));
        };
        sleep(delay).await;
        if !self.is_received().await {
            return self.world.tell(|| format!("p{} -> m{}: {request}: not received", self.process, self.member));
        }
        let is_late = self.world.plan.use_by && request.writes() && self.world.now() > sent + USE_BY;
        let reply = if is_late { Reply::Late } else { self.world.apply(self.process, self.member, &request, sent) };
        if is_late {
            self.world.tell(|| format!("p{} -> m{}: {request}: late", self.process, self.member));
        }
        let Some(delay) = fate.reply_delay else { return };
        sleep(delay).await;
        if !self.is_partitioned() {
            // The caller may have gone away.
            _ = answer.send(reply);
        }
    }

    /// Returns when the member gets to work on what has arrived, and whether it does.
    pub(crate) async fn is_received(&self) -> bool {
        let server = |world: &World| {
            let server = &world.state().servers[self.member];
            (server.down > 0, server.starts, server.hangs_until)
        };
        let (is_down, starts, hangs_until) = server(&self.world);
        if is_down || self.is_partitioned() {
            return false;
        }
        sleep(hangs_until.saturating_sub(self.world.now())).await;
        let (is_down, starts_now, _) = server(&self.world);
        !is_down && starts == starts_now
    }

    pub(crate) fn is_partitioned(&self) -> bool {
        self.world.state().partitions.get(&(self.process, self.member)).is_some_and(|partitions| *partitions > 0)
    }

    /// What happens to the copies of a request, and whether its loss is noticed at once.
    fn fates(&self) -> (Vec<Fate>, bool) {
        let (is_calm, is_slow) = {
            let state = self.world.state();
            (state.calm, state.servers[self.member].slow > 0)
        };
        let latency_ms = self.world.plan.link.latency_ms;
        let habits = if is_calm { LinkHabits { latency_ms, ..LinkHabits::default() } } else { self.world.plan.link };
        self.world.link(self.process, self.member, |rng| {
            let mut fates = vec![fate(rng, habits, is_slow)];
            if rng.u64(0..1000) < habits.repeated {
                fates.push(fate(rng, habits, is_slow));
            }
            (fates, rng.bool())
        })
    }
}

fn fate(rng: &mut Rng, habits: LinkHabits, is_slow: bool) -> Fate {
    let delay = |rng: &mut Rng| {
        let delayed = rng.u64(0..1000) < habits.delayed;
        let most = if delayed { [50, 600, 5_500][rng.usize(0..3)] } else { habits.latency_ms };
        Duration::from_millis(rng.u64(0..=most) + if is_slow { rng.u64(0..1_500) } else { 0 })
    };
    let is_lost = rng.u64(0..1000) < habits.lost;
    let is_reply_lost = rng.u64(0..1000) < habits.reply_lost;
    let (there, back) = (delay(rng), delay(rng));
    Fate { delay: (!is_lost).then_some(there), reply_delay: (!is_reply_lost).then_some(back) }
}
