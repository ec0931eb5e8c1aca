//! A world: a server, clients, what is on its way between them, and the one clock that they all go by.
//!
//! Nothing here decides anything. The scheduler says what happens next, and the world makes it so.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Display;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use crate::ledger::Ledger;
use crate::network::{Message, Network};
use crate::store::{Answer, Applied, MILLISECOND, Micros, Request, Rules, Table};

/// How long a client waits for an answer.
const PATIENCE: Micros = 5_000 * MILLISECOND;
/// How long it takes until a server is back, or a replica has taken over; the servers' clocks differ by less.
const TAKEOVER: Micros = 500 * MILLISECOND;
/// How many of its writes a replica may lag behind.
const LAG: usize = 3;

pub(crate) type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

pub(crate) struct World {
    pub(crate) now: Micros,
    pub(crate) table: Table,
    rules: Arc<dyn Rules>,
    pub(crate) network: Network,
    pub(crate) processes: Vec<Process>,
    /// What begins to run in the background.
    pub(crate) spawned: Vec<Task>,
    pub(crate) ledger: Ledger,
    /// What has happened, if it is to be told.
    pub(crate) story: Option<Vec<String>>,
    /// What a lock guards: the highest fence seen under each name.
    guarded: BTreeMap<String, u64>,
    /// What the server held before its last writes.
    past: VecDeque<Table>,
    minted: u64,
}

/// Something that runs on a client's machine: a caller, or the giving back of what nobody came to own.
pub(crate) struct Process {
    pub(crate) host: usize,
    pub(crate) awaits: Awaits,
    /// The key whose end it listens for, and whether it was told of it.
    pub(crate) listens: Option<(String, bool)>,
    pub(crate) paused_until: Micros,
    pub(crate) call: Option<Current>,
    pub(crate) done: bool,
}

/// What a process cannot go on without.
pub(crate) enum Awaits {
    Nothing,
    Answer { message: u64, until: Micros, answer: Option<Result<Answer, Unanswered>> },
    Time(Micros),
    Wakeup { until: Micros },
}

/// The call into the guest that a process is in.
#[derive(Clone)]
pub(crate) struct Current {
    pub(crate) id: usize,
    pub(crate) deadline: Micros,
    pub(crate) cancelled: bool,
    pub(crate) asked: Micros,
    pub(crate) unowned: Option<Unowned>,
}

/// A value that may lie in the store although nobody has learnt that it does.
#[derive(Clone)]
pub(crate) struct Unowned {
    pub(crate) key: String,
    pub(crate) value: String,
    /// When it has expired at the latest, if it is there at all.
    pub(crate) gone: Micros,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unanswered {
    /// The connection was lost.
    Lost,
    /// It took too long.
    Late,
}

impl World {
    pub(crate) fn new(rules: Arc<dyn Rules>, strays: bool, told: bool) -> Self {
        Self {
            now: MILLISECOND,
            table: Table::default(),
            rules,
            network: Network::new(strays),
            processes: Vec::new(),
            spawned: Vec::new(),
            ledger: Ledger::default(),
            story: told.then(Vec::new),
            guarded: BTreeMap::new(),
            past: VecDeque::new(),
            minted: 0,
        }
    }

    pub(crate) fn tell(&mut self, host: usize, what: impl Display) {
        let (now, who) = (self.now, name_of(host));
        if let Some(story) = &mut self.story {
            story.push(format!("{:>10}.{:03} ms  {who}  {what}", now / 1000, now % 1000));
        }
    }

    /// Adds a process, and returns its number.
    pub(crate) fn enter(&mut self, host: usize) -> usize {
        self.network.know(host);
        let awaits = Awaits::Nothing;
        self.processes.push(Process { host, awaits, listens: None, paused_until: 0, call: None, done: false });
        self.processes.len() - 1
    }

    /// Bytes that nobody has been given before. They differ in the end only, so that comparing less than all shows.
    pub(crate) fn mint(&mut self) -> u64 {
        self.minted += 1;
        self.minted
    }

    pub(crate) fn send(&mut self, process: usize, request: Request) {
        let Process { host, call, .. } = &self.processes[process];
        let (host, call) = (*host, call.as_ref().map(|call| call.id));
        self.ledger.sent(host, call, &request);
        let message = self.network.send(host, process, call, request);
        self.processes[process].awaits = Awaits::Answer { message, until: self.now + PATIENCE, answer: None };
    }

    /// The answer that a process waits for.
    pub(crate) fn answered(&mut self, process: usize) -> Poll<Result<Answer, Unanswered>> {
        let Process { host, awaits, .. } = &mut self.processes[process];
        let Awaits::Answer { until, answer, .. } = awaits else { return Poll::Pending };
        let (host, until) = (*host, *until);
        match answer.take() {
            Some(answer) => Poll::Ready(answer),
            None if self.now >= until => {
                self.cut(host, true);
                Poll::Ready(Err(Unanswered::Late))
            }
            None => Poll::Pending,
        }
    }

    /// Ends a client's connection. What was on its way through it arrives late, or else is lost.
    pub(crate) fn cut(&mut self, host: usize, late: bool) {
        for (message, process) in self.network.cut(host, late) {
            self.answer(message, process, Err(Unanswered::Lost));
        }
    }

    fn answer(&mut self, message: u64, process: usize, what: Result<Answer, Unanswered>) {
        if let Awaits::Answer { message: awaited, answer, .. } = &mut self.processes[process].awaits
            && *awaited == message
            && answer.is_none()
        {
            *answer = Some(what);
        }
    }

    /// The server takes what a message asks for, and its answer is on the client's machine.
    pub(crate) fn deliver(&mut self, index: usize) {
        let message = self.network.take(index);
        let (id, process) = (message.id, message.process);
        if let Some(answer) = self.apply(message, Some(index)) {
            self.answer(id, process, Ok(answer));
        }
    }

    /// The server takes what a message asks for, and the connection is lost before the answer arrives.
    pub(crate) fn deliver_unanswered(&mut self, index: usize) {
        let message = self.network.take(index);
        let (id, process, host) = (message.id, message.process, message.host);
        self.answer(id, process, Err(Unanswered::Lost));
        self.cut(host, false);
        self.apply(message, None);
    }

    fn apply(&mut self, message: Message, place: Option<usize>) -> Option<Answer> {
        self.table.expire(self.now);
        let key = message.request.key().to_owned();
        let before = self.table.clone();
        let applied = match &message.request {
            Request::Write { fence, grant, .. } => {
                let highest = self.guarded.entry(key.clone()).or_default();
                let taken = *fence >= *highest;
                if taken {
                    *highest = *fence;
                    self.ledger.written(&key, *grant);
                }
                Applied::Answer(Answer::Written(taken))
            }
            request => self.rules.apply(&mut self.table, self.now, request),
        };
        if self.story.is_some() {
            let told = crate::story::applied(&message, &applied);
            self.tell(message.host, told);
        }
        self.ledger.applied(self.now, &message, &before, &self.table);
        if before != self.table {
            self.wake(&key, &before);
            self.past.push_front(before);
            self.past.truncate(LAG);
        }
        match applied {
            Applied::Answer(answer) => Some(answer),
            Applied::Then(request) => {
                self.network.put_back(place, message.asking(request));
                None
            }
        }
    }

    /// Wakes those who wait for a key that is gone or goes away earlier than it would have.
    fn wake(&mut self, key: &str, before: &Table) {
        let (Some(before), after) = (before.slots.get(key), self.table.slots.get(key)) else { return };
        if after.is_some_and(|after| after.value == before.value && after.expires >= before.expires) {
            return;
        }
        self.wake_all(|awaited| awaited == key);
    }

    fn wake_all(&mut self, concerned: impl Fn(&str) -> bool) {
        for (key, woken) in self.processes.iter_mut().filter_map(|process| process.listens.as_mut()) {
            *woken |= concerned(key);
        }
    }

    /// The server forgets all that it knew, while it is started again.
    pub(crate) fn forget(&mut self) {
        self.now += TAKEOVER;
        self.table = Table { ahead: self.table.ahead, ..Table::default() };
        self.taken_over();
    }

    /// How many replicas there are to choose from: each lags behind more than the one before.
    pub(crate) fn replicas(&self) -> usize {
        self.past.len()
    }

    /// A replica takes over. Its clock may be behind by all the time that this took.
    pub(crate) fn fail_over(&mut self, replica: usize) {
        self.now += TAKEOVER;
        let ahead = self.table.ahead.saturating_sub(TAKEOVER - MILLISECOND);
        if let Some(table) = self.past.get(replica) {
            self.table = Table { ahead, ..table.clone() };
        }
        self.taken_over();
    }

    fn taken_over(&mut self) {
        self.past.clear();
        self.table.expire(self.now);
        for host in 0..self.network.hosts() {
            self.cut(host, true);
        }
        self.wake_all(|_| true);
        self.ledger.broke(self.now, &self.table);
    }

    /// A client's machine is gone, with all that ran there. What it has sent is on its way.
    pub(crate) fn crash(&mut self, host: usize) {
        for process in self.processes.iter_mut().filter(|process| process.host == host) {
            process.done = true;
        }
        self.ledger.failed.retain(|(owner, _)| *owner != host);
    }

    /// Whether a process can go on.
    pub(crate) fn is_ready(&self, process: usize) -> bool {
        let process = &self.processes[process];
        !process.done && self.ready_at(process).is_some_and(|ready| ready <= self.now)
    }

    /// When a process can go on, as far as only time decides.
    fn ready_at(&self, process: &Process) -> Option<Micros> {
        let woken = process.listens.as_ref().is_some_and(|(_, woken)| *woken);
        let awaited = match &process.awaits {
            Awaits::Nothing | Awaits::Answer { answer: Some(_), .. } => self.now,
            Awaits::Wakeup { .. } if woken => self.now,
            Awaits::Answer { until, .. } | Awaits::Time(until) | Awaits::Wakeup { until } => *until,
        };
        let interrupted =
            process.call.as_ref().map_or(Micros::MAX, |call| if call.cancelled { self.now } else { call.deadline });
        Some(awaited.min(interrupted).max(process.paused_until)).filter(|ready| *ready < Micros::MAX)
    }

    /// When the next process can go on that cannot yet.
    pub(crate) fn next_timer(&self) -> Option<Micros> {
        let processes = self.processes.iter().filter(|process| !process.done);
        processes.filter_map(|process| self.ready_at(process)).filter(|ready| *ready > self.now).min()
    }

    /// When the first key expires.
    pub(crate) fn next_expiry(&self) -> Option<Micros> {
        self.table.slots.values().map(|slot| slot.expires).filter(|expires| *expires > self.now).min()
    }
}

/// What a client is called in a story.
pub(crate) fn name_of(host: usize) -> char {
    u8::try_from(host).map_or('?', |host| char::from(b'A' + host))
}
