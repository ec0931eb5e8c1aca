//! What is sent to the server, and when it is sent again.

use crate::cache::Unavailable;
use crate::client::Reading;
use crate::process::{TIMEOUT, Unanswered};
use crate::request::{Outcome, Reply, Request, Step};
use crate::sim_cache::SimCache;
use crate::table::Micros;

/// How often a request that was late is repeated.
const MOST_LATE: usize = 3;

/// Until when an attempt of a call that was not answered may still take effect.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Doubt(pub(crate) Micros);

/// A reply, and to which attempt.
pub(crate) struct Replied {
    pub(crate) outcome: Outcome,
    /// When the attempt was sent that was answered.
    pub(crate) sent: Micros,
    /// Whether an earlier attempt was not answered.
    pub(crate) retried: bool,
}

impl SimCache {
    /// Sends a request, and sends it again if the connection was lost or the use-by had passed. It is given `again` if another attempt may
    /// still arrive.
    pub(crate) async fn run(&self, doubt: &mut Doubt, step: impl Fn(bool) -> Step) -> Result<Replied, Unavailable> {
        let (mut retried, mut late) = (false, 0);
        loop {
            let sent = self.port.now();
            match self.send(step(sent <= doubt.0), sent).await {
                Ok(Reply { outcome: Outcome::Late, .. }) if late < MOST_LATE => late += 1,
                Ok(Reply { outcome: Outcome::Late, .. }) => return Err(Unavailable),
                Ok(Reply { outcome, .. }) => return Ok(Replied { outcome, sent, retried }),
                Err(lost) => {
                    doubt.0 = doubt.0.max(sent + TIMEOUT);
                    if retried || lost == Unanswered::TimedOut {
                        return Err(Unavailable);
                    }
                    retried = true;
                }
            }
        }
    }

    async fn send(&self, step: Step, sent: Micros) -> Result<Reply, Unanswered> {
        let host = self.port.host();
        let known = self.port.world().clients[host].clock;
        if known.is_none() && !matches!(step, Step::Get { .. }) {
            self.exchange(Step::Time, 0).await?;
        }
        let use_by = {
            let world = self.port.world();
            world.clients[host].clock.map_or(0, |clock| clock.at_least(sent + TIMEOUT))
        };
        self.exchange(step, use_by).await
    }

    /// One request and its reply, which also tells the server's time.
    pub(crate) async fn exchange(&self, step: Step, use_by: u64) -> Result<Reply, Unanswered> {
        let host = self.port.host();
        let sent = self.port.now();
        let reply = self.port.exchange(Request { step, use_by }).await?;
        let mut world = self.port.world();
        let received = world.now;
        world.clients[host].clock = Some(Reading { sent, received, time: reply.time });
        Ok(reply)
    }

    /// An extension is about to be sent: until it is answered, it may take effect.
    pub(crate) fn doubt_extension(&self, value: &str, ttl_ms: u64) -> (Micros, u64) {
        let host = self.port.host();
        let mut world = self.port.world();
        let doubt = (world.now + 3 * TIMEOUT, ttl_ms);
        world.clients[host].doubts.entry(value.to_owned()).or_default().push(doubt);
        doubt
    }

    /// An extension is answered. If it was repeated, the first attempt remains in doubt. Returns the shortest time that another one in doubt
    /// may give the value.
    pub(crate) fn settle_extension(&self, value: &str, doubt: (Micros, u64), retried: bool) -> u64 {
        let host = self.port.host();
        let mut world = self.port.world();
        let now = world.now;
        let client = &mut world.clients[host];
        if let Some(doubts) = client.doubts.get_mut(value) {
            doubts.retain(|other| retried || *other != doubt);
        }
        client.shortest_doubt(value, now).unwrap_or(u64::MAX)
    }
}
