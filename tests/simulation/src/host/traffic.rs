//! How requests, replies and messages pass between the processes and the servers.

use std::sync::Arc;
use std::time::Duration;

use redis::{RedisError, RedisResult, Value};
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::sleep;

use super::asked::{Asked, Words, outcome, told};
use super::invariants::HostInvariant::EveryCallEnds;
use super::links::Down;
use super::network::Connection;
use super::plan::LOCK_NAMES;
use super::sites::Peer;
use super::variants::Flaw;
use super::world::{Downstream, Route, State, World};

/// What servers say to a user that may not publish.
const REFUSALS: [&str; 2] = ["NOPERM", "can't run this command"];
/// More than any world needs.
const MAX_REQUESTS: usize = 50_000;
/// How long after the last request of a broken connection the server closes it.
const SERVER_NOTICES: Duration = Duration::from_millis(10);
/// The longest that a connection is slow, or its last requests are late.
const LONGEST_MS: u64 = 6_500;

impl World {
    /// How long a request or a reply takes.
    pub(super) fn latency(&self, route: Route) -> Duration {
        let most = self.plan.network.latency_ms * 1000;
        let micros = self.link(route, |link| link.rng.u64(most / 2..=most));
        Duration::from_micros(micros)
    }

    /// How long the network between a process and a site hangs still, if it does.
    pub(super) fn hangs(&self, route: Route) -> Option<Duration> {
        let (now, until) = (self.now(), self.link(route, |link| link.hangs_until));
        (until > now).then(|| until - now)
    }

    /// How long requests of a process to a site are stalled still, if they are.
    pub(super) fn stalls(&self, route: Route, connection: Option<Peer>) -> Option<Duration> {
        let (now, hangs) = (self.now(), self.link(route, |link| link.hangs_until));
        let state = self.state();
        let late = connection.and_then(|connection| state.late.get(&connection)).copied().unwrap_or_default();
        let until = hangs.max(state.sites.all[route.site].stopped_until).max(late);
        (until > now).then(|| until - now)
    }

    /// The server of a site accepts a connection, if it is there.
    pub(super) fn accept(&self, site: usize) -> Option<Peer> {
        let now = self.now();
        let servers = &mut self.state().sites.all[site];
        let node = servers.primary;
        (servers.away_until <= now).then(|| Peer { site, node, client: servers.server(node, now).connect() })
    }

    pub(super) fn connected(&self, connection: &Arc<Connection>, down: UnboundedSender<(Duration, Down)>) {
        let (route, peer) = (connection.route, connection.peer);
        self.link(route, |link| link.connection = Arc::downgrade(connection));
        self.state().downs.insert(peer, Downstream { process: route.process, down });
    }

    /// The server closes a connection.
    pub(super) fn closed(&self, peer: Peer) {
        let now = self.now();
        let state = &mut *self.state();
        let server = state.sites.server(peer, now);
        let before = server.channels();
        server.disconnect(peer.client);
        let after = server.channels();
        if state.sites.all[peer.site].primary == peer.node {
            let ended = before.iter().filter(|channel| !after.contains(channel));
            ended.for_each(|channel| state.ledger.unsubscribed(channel));
        }
        state.downs.remove(&peer);
        state.late.remove(&peer);
    }

    /// What happens to a connection at random as a request is sent. Returns how late the request arrives if the connection breaks then.
    pub(super) fn suffers(&self, route: Route) -> Option<Duration> {
        let habits = self.plan.network;
        if habits.delayed + habits.broken == 0 || self.state().calm {
            return None;
        }
        let (odds, ms) = self.link(route, |link| (link.rng.u64(0..1000), link.rng.u64(0..LONGEST_MS)));
        let length = Duration::from_millis(ms);
        if odds < habits.broken {
            if ms % 2 == 0 {
                return Some(length);
            }
            self.breaks(route, length);
        } else if odds < habits.broken + habits.delayed {
            self.hangs_for(route, length / 2);
        }
        None
    }

    /// The connection between a process and a site breaks. What was sent arrives later.
    pub(super) fn breaks(&self, route: Route, late: Duration) {
        let now = self.now();
        let connection = self.link(route, |link| std::mem::take(&mut link.connection)).upgrade();
        let arrives = now + late + Duration::from_millis(self.plan.network.latency_ms);
        self.ledger(|ledger, _| ledger.disturbed(Some(route.process), route.site, arrives));
        if let Some(connection) = connection {
            self.state().late.insert(connection.peer, now + late);
            connection.disconnect();
            // A client of a cluster keeps a broken connection until it needs the node again.
            let (world, peer) = (connection.world(), connection.peer);
            tokio::spawn(async move {
                sleep(arrives.saturating_sub(world.now()) + SERVER_NOTICES).await;
                world.closed(peer);
            });
        }
    }

    pub(super) fn hangs_for(&self, route: Route, length: Duration) {
        self.tell(|| format!("the connection of {route} hangs for {length:?}"));
        let until = self.now() + length;
        self.link(route, |link| link.hangs_until = link.hangs_until.max(until));
        self.ledger(|ledger, now| ledger.disturbed(Some(route.process), route.site, now + length));
    }

    /// All connections to a site end, from the server's side.
    pub(super) fn cut_all(&self, site: usize) {
        let routes: Vec<_> = self.state().links.keys().copied().filter(|route| route.site == site).collect();
        for route in routes {
            if let Some(connection) = self.link(route, |link| std::mem::take(&mut link.connection)).upgrade() {
                self.closed(connection.peer);
                connection.disconnect();
            }
        }
    }

    /// For `WAIT`, lets as many replicas confirm as it says, or its time pass.
    pub(super) async fn replicas_confirm(&self, peer: Peer, words: &Words) {
        let [command, count, limit] = &words[..] else { return };
        let number = |word: &[u8]| std::str::from_utf8(word).ok().and_then(|word| word.parse().ok()).unwrap_or(0);
        if command != b"WAIT" {
            return;
        }
        let until = self.now() + Duration::from_millis(number(limit));
        while self.now() < until {
            let (confirmed, due) = self.state().sites.all[peer.site].confirmations(peer.node, peer.client, self.now());
            if confirmed as u64 >= number(count) {
                return;
            }
            let due = due.unwrap_or(until).min(until);
            sleep(due.saturating_sub(self.now()).max(Duration::from_millis(1))).await;
        }
    }

    /// The server does what is asked. None if the connection does not exist there any more.
    pub(super) fn execute(
        &self,
        process: usize,
        peer: Peer,
        words: &Words,
        asked: &Asked,
    ) -> Option<RedisResult<Value>> {
        let now = self.now();
        let state = &mut *self.state();
        observe(state, now);
        let before = asked.lock().and_then(|name| state.sites.all[peer.site].entry(name, now));
        let answer = state.sites.all[peer.site].call(peer.node, peer.client, words, now);
        if answer.as_ref().is_err_and(RedisError::is_io_error) {
            return None;
        }
        if let Some(trace) = &mut state.trace {
            let reply = answer.as_ref().map_or_else(ToString::to_string, told);
            let route = Route { process, site: peer.site };
            trace.push(format!("{:>9.3} {route} -> {asked}: {reply}", now.as_secs_f64() * 1000.0));
        }
        state.ledger.executed(process, asked, answer.as_ref().ok(), now);
        if let (Some(value), Some("withdrawn"), "withdraw") =
            (asked.value(), answer.as_ref().ok().and_then(outcome), &asked.what[..])
        {
            state.ledger.withdrawn.insert((value.to_owned(), peer.site), now);
            if self.plan.waits_for_replica && state.ledger.chosen.contains(value) {
                // A call that is not confirmed gives up what an earlier one with its token took.
                state.ledger.ends(value);
            }
        }
        if let ("withdraw_vote", Some("withdrawn"), [_, value, first, last]) =
            (&asked.what[..], answer.as_ref().ok().and_then(outcome), &asked.args[..])
            && let (Ok(first), Ok(last)) = (first.parse(), last.parse())
        {
            state.ledger.withdrawn_votes.push((value.clone(), peer.site, first..=last));
        }
        if let ("vote", Some("stored")) = (&asked.what[..], answer.as_ref().ok().and_then(outcome)) {
            state.ledger.check_vote(&asked.args, peer.site, before.as_ref());
        }
        if let (Some(value), "withdraw" | "withdraw_vote", Err(error)) = (asked.args.get(1), &asked.what[..], &answer)
            && REFUSALS.iter().any(|refusal| error.to_string().contains(refusal))
        {
            state.ledger.refused.insert((value.clone(), peer.site));
        }
        observe(state, now);
        let serves = answer.as_ref().is_ok_and(|reply| outcome(reply).is_some_and(|outcome| asked.serves(outcome)));
        let servers = &mut state.sites.all[peer.site];
        if peer.node == servers.primary && serves {
            let channels = servers.primary(now).channels();
            state.ledger.check_hand_off(asked, before.as_ref(), &channels, now);
        }
        self.send_pushes(state, now);
        state.requests += 1;
        if state.requests > MAX_REQUESTS {
            state.ledger.violated(EveryCallEnds, "there is no end of requests".to_owned());
        }
        if state.ledger.violation.is_some() {
            self.stop.notify_one();
        }
        Some(answer)
    }

    fn send_pushes(&self, state: &mut State, now: Duration) {
        let at = now + Duration::from_millis(self.plan.network.latency_ms);
        state.sites.pass_on(now);
        for (peer, push) in state.sites.take_pushes() {
            if self.flaw() == Some(Flaw::LosesPushes) {
                continue;
            }
            let mut to = state.downs.get(&peer).cloned();
            if self.flaw() == Some(Flaw::PushesToOthers) {
                let others =
                    state.downs.values().find(|other| to.as_ref().is_none_or(|to| to.process != other.process));
                to = others.cloned().or(to);
            }
            if let Some(to) = to {
                _ = to.down.send((at, Down::Push(push)));
            }
        }
    }
}

/// Notes what the server has under the keys of all locks.
pub(super) fn observe(state: &mut State, now: Duration) {
    for name in LOCK_NAMES {
        let entries = state.sites.entries(name, now);
        state.ledger.observed(name, entries, now);
    }
}

impl std::fmt::Display for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { process, site } = self;
        if *site == 0 { write!(f, "p{process}") } else { write!(f, "p{process}.{site}") }
    }
}
