//! Who waits for which lock, and whether their order is kept.

use std::time::Duration;

use redis::Value;

use super::asked::{Asked, label_of, outcome};
use super::completions::is_record;
use super::invariants::HostInvariant::{
    FirstComeFirstServed, FreeLocksAreGranted, GivenUpIsRemoved, HandOffsReachWaiters,
};
use super::ledger::Ledger;
use super::site::Entry;

/// A call that takes a lock.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) process: usize,
    /// It has ended, or its caller went away.
    pub(super) over: bool,
    /// Its caller does not have the lock, and never will by this call.
    pub(super) given_up: bool,
}

/// A value that a call wants to be stored.
#[derive(Debug)]
pub(super) struct Waiter {
    name: String,
    process: usize,
    /// When the server was first asked.
    first: Duration,
    /// When it was told that it is in the queue.
    queued: Option<Duration>,
    /// When it was last told so, by a report that counts, and whether its last report did not.
    confirmed: Option<Duration>,
    is_unsubscribed: bool,
    /// The ticket that its entry has, whether its client knows that, and whether its place changed.
    ticket: i64,
    knows_ticket: bool,
    is_moved: bool,
    pub(super) stored: bool,
    /// The last step that was executed and did not store it. Its client may not have the answer, and repeat it.
    left: Option<LastStep>,
    /// Where it is told.
    channel: Option<String>,
}

/// A request that a client has the answer to: one that enters the queue, or leaves it with the last step.
pub(super) struct Answered {
    pub(super) value: String,
    pub(super) is_last_step: bool,
}

/// The reports of a client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reports {
    /// Since when there was no break that is longer than a client counts as reporting.
    since: Duration,
    last: Duration,
    /// Whether the client was subscribed at the last one.
    count: bool,
}

/// A last step that left a value out of the store and the queue.
#[derive(Clone, Copy, Debug)]
struct LastStep {
    use_by: u64,
    /// Its client knows, or has gone on to withdraw the value.
    is_known: bool,
}

/// For how long a lock may be free while a live waiter waits: a report is due every two seconds.
const MOST_FREE: Duration = Duration::from_millis(2_500);
/// How long it takes a waiter to come back that lost its connection.
const COMES_BACK: Duration = Duration::from_millis(1_500);
/// How long a client counts as reporting.
const KEEPS_CLIENT: Duration = Duration::from_secs(6);
/// For how long after a restart heads of queues may have a grace.
pub(super) const GRACES: Duration = Duration::from_secs(12);
/// How long a grace lasts.
const GRACE: Duration = Duration::from_secs(1);

impl Ledger {
    pub(super) fn begins(&mut self, label: &str, process: usize) {
        self.calls.insert(label.to_owned(), Call { process, over: false, given_up: false });
    }

    /// A call ended. It has given up unless it was granted the lock.
    pub(super) fn over(&mut self, label: &str, given_up: bool) {
        if let Some(call) = self.calls.get_mut(label) {
            (call.over, call.given_up) = (true, given_up);
        }
    }

    /// The server did what was asked.
    pub(super) fn executed(&mut self, process: usize, asked: &Asked, reply: Option<&Value>, now: Duration) {
        if let (Some(name), Some(value)) = (asked.lock(), asked.value()) {
            let waiter = self.waiters.entry(value.to_owned()).or_insert_with(|| Waiter {
                name: name.to_owned(),
                process,
                first: now,
                queued: None,
                confirmed: None,
                is_unsubscribed: false,
                ticket: 0,
                knows_ticket: false,
                is_moved: false,
                stored: false,
                left: None,
                channel: None,
            });
            if asked.what == "enqueue" {
                waiter.channel = asked.args.get(8).cloned();
            }
            let outcome = reply.and_then(outcome);
            if let (Some(channel), 6, Some("queued")) = (&waiter.channel, asked.keys.len(), outcome) {
                // A client whose report does not count is not subscribed any more, and is about to subscribe again.
                let reports =
                    self.reports.entry(channel.clone()).or_insert(Reports { since: now, last: now, count: false });
                reports.count = reply.is_some_and(counts_report);
                waiter.is_unsubscribed = !reports.count;
                if reports.count {
                    waiter.confirmed = Some(now);
                    reports.since = if now < reports.last + KEEPS_CLIENT { reports.since } else { now };
                    reports.last = now;
                }
            }
            if let (Some("queued"), Some(Value::Array(fields))) = (outcome, reply) {
                waiter.queued.get_or_insert(now);
                if let [_, _, Value::Int(ticket), Value::Int(added), ..] = fields[..] {
                    // The server moves an entry to the end. After a loss of data, a client that has no ticket comes last.
                    let may_move = added == 0 || !waiter.knows_ticket;
                    waiter.is_moved |= may_move && waiter.ticket != 0 && waiter.ticket != ticket;
                    waiter.ticket = ticket;
                }
            }
            waiter.takes_last_step(asked, outcome);
        }
        self.takes(process, asked, reply.and_then(outcome), now);
        self.check_free(now);
    }

    /// A client has the answer to a request for a value.
    pub(super) fn has_answer(&mut self, Answered { value, is_last_step }: &Answered) {
        let Some(waiter) = self.waiters.get_mut(value) else { return };
        if *is_last_step {
            waiter.left.iter_mut().for_each(|left| left.is_known = true);
        } else {
            waiter.knows_ticket = true;
        }
    }

    /// After a step that serves the queue, the lock is not free if a live waiter waits, and its new holder can hear of it.
    pub(super) fn check_hand_off(
        &mut self,
        asked: &Asked,
        before: Option<&Entry>,
        channels: &[Vec<u8>],
        now: Duration,
    ) {
        if self.is_quorum() {
            return;
        }
        let serves = matches!(&asked.what[..], "set" | "enqueue") || before.is_some();
        let Some(name) = asked.lock().filter(|_| serves) else { return };
        let Some(entry) = self.truths.get(name).and_then(|truth| truth.entry.clone()) else {
            let live = self
                .reporting(name, now)
                .next()
                .map(|(value, queued)| format!("{value} waits for {name} since {queued:?}"));
            // After a restart, the head of the queue has a grace.
            if let (Some(what), false) = (live, self.may_have_grace(now)) {
                self.violated(FreeLocksAreGranted, format!("{what}, and `{}` leaves it free", asked.what));
            }
            return;
        };
        let is_new = before.is_none_or(|before| before.value != entry.value) && asked.value() != Some(&entry.value);
        let channel = self.waiters.get(&entry.value).and_then(|waiter| waiter.channel.as_ref());
        let hears = channel.is_some_and(|channel| channels.iter().any(|other| other == channel.as_bytes()));
        if is_new && !hears {
            self.violated(HandOffsReachWaiters, format!("{} is handed {name}, and has no subscription", entry.value));
        }
    }

    /// A value that was given up is not stored.
    pub(super) fn check_given_up(&mut self, name: &str, value: &str) {
        let has_left = self.waiters.get(value).is_some_and(|waiter| waiter.left.is_some());
        let had_it = self.leases.iter().any(|lease| lease.token == value);
        if (has_left || had_it) && self.losses == 0 && !self.chosen.contains(value) {
            let what = format!("{value} is stored in {name}, and had it before: {had_it}, or gave up: {has_left}");
            self.violated(GivenUpIsRemoved, what);
        }
    }

    /// Whether the head of a queue may be waited for although it is not subscribed.
    fn may_have_grace(&self, now: Duration) -> bool {
        // The keys of clients last longer on a server whose clock is behind.
        self.clock_is_back || !self.is_healthy(usize::MAX, now.saturating_sub(GRACES))
    }

    /// Those that are in the queue, with their processes and since when.
    fn waiting(&self, name: &str) -> impl Iterator<Item = (&String, usize, Duration)> {
        let waits = move |(value, waiter): (&String, &Waiter)| {
            let is_over = self.calls.get(label_of(value)).is_none_or(|call| call.over);
            waiter.name == name && !is_over && !waiter.stored && waiter.left.is_none()
        };
        let waiters = self.waiters.iter().filter(move |waiter| waits(*waiter));
        waiters.filter_map(|(value, waiter)| Some((value, waiter.process, waiter.queued?)))
    }

    /// Those that were healthy for all of that time.
    fn live(&self, name: &str) -> impl Iterator<Item = (&String, Duration)> {
        let healthy = self.waiting(name).filter(|(_, process, queued)| self.is_healthy(*process, *queued));
        healthy.map(|(value, _, queued)| (value, queued))
    }

    /// Those of them whose client reports: its first report may still be on its way.
    fn reporting(&self, name: &str, now: Duration) -> impl Iterator<Item = (&String, Duration)> {
        self.live(name).filter(move |(value, _)| self.reports(value, now))
    }

    /// The last connection that was subscribed ended: the server takes the waiters of the client for dead until it reports on another one.
    pub(super) fn unsubscribed(&mut self, channel: &[u8]) {
        let reports = self.reports.iter_mut().find(|(of, _)| of.as_bytes() == channel);
        reports.into_iter().for_each(|(_, reports)| reports.count = false);
    }

    fn reports(&self, value: &str, now: Duration) -> bool {
        // A new waiter that is not subscribed here counts as one that went away.
        let waiter = self.waiters.get(value).filter(|waiter| !waiter.is_unsubscribed);
        let channel = waiter.and_then(|waiter| waiter.channel.as_ref());
        let reports = channel.and_then(|channel| self.reports.get(channel));
        reports.is_some_and(|reports| reports.count && now < reports.last + KEEPS_CLIENT)
    }

    /// Since when the client of a waiter reports without a break: before that, it counted as one that is stopped.
    fn reports_since(&self, value: &str) -> Option<Duration> {
        let channel = self.waiters.get(value)?.channel.as_ref()?;
        self.reports.get(channel).map(|reports| reports.since)
    }

    /// No live waiter came before the one that is stored.
    pub(super) fn check_order(&mut self, name: &str, value: &str, now: Duration) {
        let Some(waiter) = self.waiters.get(value) else { return };
        let order = waiter.queued.unwrap_or(waiter.first);
        let ahead = self.waiting(name).filter(|(other, process, queued)| {
            let keeps = self.keeps_order(*process, *queued) || self.is_back(other, *process, order);
            *other != value && keeps && self.reports(other, now)
        });
        let places = ahead
            .map(|(other, _, queued)| (other, self.reports_since(other).map_or(queued, |since| queued.max(since))));
        let first = places.min_by_key(|(_, queued)| *queued).filter(|(_, queued)| *queued < order);
        let tell =
            |(other, queued)| format!("{value} is served at {now:?}, and {other} waits for {name} since {queued:?}");
        if let Some(what) = first.map(tell) {
            self.violated(FirstComeFirstServed, what);
        }
    }

    /// Whether a waiter is in the queue again, with its ticket, after a loss of data before which another one was queued, too.
    fn is_back(&self, value: &str, process: usize, other_queued: Duration) -> bool {
        let (Some(waiter), [lost]) = (self.waiters.get(value), &self.lost_at[..]) else { return false };
        let was_there = waiter.queued.is_some_and(|queued| queued < *lost) && other_queued < *lost;
        was_there && !waiter.is_moved && waiter.confirmed.is_some_and(|at| at > *lost && self.keeps_order(process, at))
    }

    /// No lock is free for long while a live waiter waits.
    fn check_free(&mut self, now: Duration) {
        if self.is_quorum() {
            return;
        }
        let free = self.truths.iter().filter(|(_, truth)| truth.entry.is_none());
        let free: Vec<_> = free.map(|(name, truth)| (*name, truth.free_since)).collect();
        // A grace begins again if the clock is set back meanwhile.
        let graces = if self.clock_is_back { 2 } else { u32::from(self.may_have_grace(now)) };
        let grace = graces * GRACE;
        for (name, since) in free {
            // A revocation or an end of a lease may begin the grace.
            let since = since + grace;
            let has_come_back = |process| now > since + COMES_BACK && self.is_healthy(process, now - COMES_BACK);
            let forgotten = self
                .waiting(name)
                .find(|(_, process, queued)| {
                    let was_live = now > since.max(*queued) + MOST_FREE && self.is_healthy(*process, *queued);
                    was_live || (now > *queued + COMES_BACK && has_come_back(*process))
                })
                .map(|(value, _, queued)| (value, queued));
            let tell = |(value, queued)| format!("{name} is free since {since:?}, and {value} waits since {queued:?}");
            if let Some(what) = forgotten.map(tell) {
                self.violated(FreeLocksAreGranted, what);
            }
        }
    }
}

impl Answered {
    pub(super) fn of(asked: &Asked, answer: &Value) -> Option<Self> {
        let (outcome, is_last_step) = (outcome(answer)?, asked.is_last_step());
        let enters = asked.what == "enqueue" && outcome == "queued";
        let value = asked.value().filter(|_| enters || is_last_step)?.to_owned();
        Some(Self { value, is_last_step })
    }
}

impl Waiter {
    /// A client that has no answer to a last step may repeat it. The later copy may store the value, and no earlier one.
    fn takes_last_step(&mut self, asked: &Asked, outcome: Option<&str>) {
        let (use_by, left) = (asked.use_by(), self.left);
        match outcome {
            Some("occupied" | "withdrawn") if asked.leaves_queue() => {
                let is_known = !asked.is_last_step() || left.is_some_and(|left| left.is_known);
                self.left = Some(LastStep { use_by: left.map_or(use_by, |left| left.use_by.max(use_by)), is_known });
            }
            Some("stored") if asked.is_last_step() => {
                self.left = left.filter(|left| left.is_known || left.use_by >= use_by);
            }
            _ => {}
        }
    }
}

/// Whether a report counts: the server ignores one that comes before its client has subscribed.
fn counts_report(reply: &Value) -> bool {
    matches!(reply, Value::Array(fields) if matches!(fields.get(6), Some(Value::Int(1..))))
}

/// What callers give up.
impl Ledger {
    /// A caller drops what it does: the call, or what it holds.
    pub(super) fn drops(&mut self, label: &str) {
        let tokens = self.leases.iter().filter(|lease| label_of(&lease.token) == label);
        let tokens: Vec<_> = tokens.map(|lease| lease.token.clone()).collect();
        // A lease without a guard is left to expire.
        let guarded = tokens.iter().any(|token| self.guards.iter().any(|(_, guarded, _)| guarded == token));
        self.over(label, tokens.is_empty() || guarded);
        tokens.iter().for_each(|token| self.ends(token));
    }

    /// A guard was dropped.
    pub(super) fn given_up(&mut self, token: &str) {
        self.over(label_of(token), true);
    }

    /// All leases of a call are over.
    pub(super) fn ends_call(&mut self, label: &str) {
        let tokens = self.leases.iter().filter(|lease| label_of(&lease.token) == label);
        let tokens: Vec<_> = tokens.map(|lease| lease.token.clone()).collect();
        tokens.iter().for_each(|token| self.ends(token));
    }

    /// Whether a site must not have a value, since its call gave up and its process lives: withdrawals in the background end with their process.
    /// What a site refuses to withdraw expires there.
    pub(super) fn is_given_up(&self, value: &str, site: usize) -> bool {
        let refused = self.refused.iter().any(|(of, by)| of == value && (*by == site || !self.is_quorum()));
        let call = self.calls.get(label_of(value)).filter(|call| !self.crashed.contains(&call.process));
        // A caller that does not know whether its work was recorded leaves the record.
        let stays = self.chosen.contains(value) || is_record(value);
        call.is_some_and(|call| call.given_up) && !refused && !stays
    }
}
