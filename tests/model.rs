//! Whether stores and lockers agree with a model of them: whatever they are asked, one request after the other or many at
//! once. proptest makes up the requests, and looks for the fewest that show what is wrong.
//!
//! `PROPTEST_CASES=25600 cargo test -p locker-tests model::` tries a hundred times as much.

mod clients;
mod linearizability;
mod lockers;
mod reference;
mod torn;
mod voteless;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use locker_host::{Local, Locker, Memory, QuorumMember, Redis};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestCaseError, TestError, TestRunner};
use rstest::rstest;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use crate::harness::{Backend, LONG, RedisServer};
use clients::{Client, Script, at_once};
use lockers::{Act, NO_TOKEN, Person, Whose};
use reference::{Key, Request};
use torn::{Tear, Torn};
use voteless::Voteless;

/// Over before the next pause is.
const BRIEF: Duration = Duration::from_millis(8);
/// Long enough for the other requests of a case to come in between.
const WAIT: Duration = Duration::from_millis(5);
/// So many hosts share a store.
const HOSTS: usize = 3;

/// A store that several hosts share.
enum Store {
    Memory(Memory),
    Local { local: Local, _folder: TempDir },
    Redis { _server: RedisServer, hosts: Vec<Redis> },
}

impl Store {
    async fn start(backend: Backend) -> Self {
        match backend {
            Backend::Memory => Self::Memory(Memory::default()),
            Backend::Local => {
                let folder = tempfile::tempdir().unwrap();
                Self::Local { local: Local::open(folder.path()).unwrap(), _folder: folder }
            }
            Backend::Redis => {
                let server = RedisServer::start().await;
                let hosts = (0..HOSTS).map(|_| Redis::open(&server.url()).unwrap()).collect();
                Self::Redis { _server: server, hosts }
            }
        }
    }

    /// What each host sees of a part of the store that is empty yet.
    fn empty(&self) -> Vec<Arc<dyn QuorumMember>> {
        match self {
            Self::Memory(_) => {
                let shared: Arc<dyn QuorumMember> = Arc::new(Memory::default());
                vec![shared; HOSTS]
            }
            Self::Local { local, .. } => {
                let prefix = format!("{}:", unique());
                let part = Voteless { local: local.clone(), prefix };
                (0..HOSTS).map(|_| Arc::new(part.clone()) as Arc<dyn QuorumMember>).collect()
            }
            Self::Redis { hosts, .. } => {
                let prefix = format!("{}:", unique());
                hosts
                    .iter()
                    .map(|host| Arc::new(host.clone().prefix(&prefix).unwrap()) as Arc<dyn QuorumMember>)
                    .collect()
            }
        }
    }

    /// The locker of each host.
    fn lockers(&self) -> Vec<Locker> {
        match self {
            Self::Memory(memory) => (0..HOSTS).map(|_| Locker::new(memory.clone()).unwrap()).collect(),
            Self::Local { local, .. } => (0..HOSTS).map(|_| Locker::new(local.clone()).unwrap()).collect(),
            Self::Redis { hosts, .. } => hosts.iter().map(|host| Locker::new(host.clone()).unwrap()).collect(),
        }
    }
}

/// A number that was not used before.
fn unique() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Threads that are really there at once, also on one core.
fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap()
}

/// Tries so many cases, or tells the smallest that went wrong.
fn for_all<S: Strategy>(cases: u32, what: S, mut agrees: impl FnMut(S::Value) -> Result<(), String>) {
    try_all(cases, what, &mut agrees).unwrap_or_else(|error| panic!("{error}"));
}

fn try_all<S: Strategy>(
    cases: u32,
    what: S,
    agrees: &mut impl FnMut(S::Value) -> Result<(), String>,
) -> Result<(), TestError<S::Value>> {
    let usual = Config::default();
    // `PROPTEST_CASES` is 256 by default.
    let cases = (u64::from(cases) * u64::from(usual.cases) / 256).try_into().unwrap();
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 300, ..usual };
    let agrees = Mutex::new(agrees);
    TestRunner::new(config).run(&what, |case| (agrees.lock().unwrap())(case).map_err(TestCaseError::fail))
}

fn key() -> impl Strategy<Value = String> {
    select(vec!["job", "{tag}"]).prop_map(str::to_owned)
}

fn value() -> impl Strategy<Value = String> {
    select(vec!["a", "b", "鎖 c"]).prop_map(str::to_owned)
}

/// Mostly long: what expires meanwhile has little left to be asked.
const TTLS: [Duration; 6] = [LONG, LONG, LONG, LONG.checked_div(2).unwrap(), BRIEF, BRIEF];

fn request(ttls: &[Duration]) -> impl Strategy<Value = Request> {
    let ttl = || select(ttls.to_vec());
    prop_oneof![
        3 => (value(), ttl()).prop_map(|(value, ttl)| Request::Set { value, ttl, wait: Duration::ZERO }),
        // All with one time to live: a value in the queue keeps the one that it came with.
        1 => value().prop_map(|value| Request::Set { value, ttl: LONG, wait: WAIT }),
        2 => (value(), ttl()).prop_map(|(value, ttl)| Request::Extend { value, ttl }),
        1 => (value(), value(), ttl()).prop_map(|(value, by, ttl)| Request::Replace { value, by, ttl }),
        3 => value().prop_map(|value| Request::Delete { value }),
        2 => Just(Request::Get),
    ]
}

/// What is done to a store, one thing after the other.
#[derive(Clone, Debug)]
enum Step {
    Ask {
        host: usize,
        key: String,
        request: Request,
    },
    /// Votes for a value, or withdraws a vote, with a revision that is so much above the last.
    Vote {
        host: usize,
        key: String,
        value: String,
        by: u64,
        kind: VoteKind,
    },
    Pause(Duration),
}

fn vote_kind() -> impl Strategy<Value = VoteKind> {
    select(vec![VoteKind::First, VoteKind::Repeated, VoteKind::WithdrawnAll, VoteKind::WithdrawnLast])
}

#[derive(Clone, Copy, Debug)]
enum VoteKind {
    First,
    Repeated,
    WithdrawnAll,
    WithdrawnLast,
}

impl VoteKind {
    fn request(self, value: String, revision: u64) -> Request {
        match self {
            Self::First => Request::Vote { value, revision, ttl: LONG, since: revision },
            Self::Repeated => Request::Vote { value, revision, ttl: LONG, since: 0 },
            Self::WithdrawnAll => Request::WithdrawVote { value, revisions: 0..=revision },
            Self::WithdrawnLast => Request::WithdrawVote { value, revisions: revision..=revision },
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    // For less than a brief time to live, or more.
    let pause = prop_oneof![Just(BRIEF / 2), Just(2 * BRIEF)];
    prop_oneof![
        12 => (0..HOSTS, key(), request(&TTLS)).prop_map(|(host, key, request)| Step::Ask { host, key, request }),
        3 => (0..HOSTS, key(), value(), select(vec![0, 1, 1 << 40]), vote_kind())
            .prop_map(|(host, key, value, by, kind)| Step::Vote { host, key, value, by, kind }),
        1 => pause.prop_map(Step::Pause),
    ]
}

#[rstest]
fn one_request_after_the_other_is_answered_as_the_model_says(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let runtime = runtime();
    let store = runtime.block_on(Store::start(backend));
    for_all(150, prop::collection::vec(step(), 1..40), |steps| {
        let hosts = store.empty();
        let may_vote = !matches!(store, Store::Local { .. });
        let steps = steps.into_iter().filter(|step| may_vote || !matches!(step, Step::Vote { .. }));
        runtime.block_on(agree(&hosts, steps.collect()))
    });
}

async fn agree(hosts: &[Arc<dyn QuorumMember>], steps: Vec<Step>) -> Result<(), String> {
    let mut keys = HashMap::<String, Key>::new();
    for step in steps {
        let (host, key, request) = match step {
            Step::Pause(time) => {
                tokio::time::sleep(time).await;
                continue;
            }
            Step::Ask { host, key, request } => (host, key, request),
            Step::Vote { host, key, value, by, kind } => {
                let revision = keys.get(&key).map_or(0, Key::last_revision) + by;
                (host, key, kind.request(value, revision))
            }
        };
        let event = Client { number: host, cache: hosts[host].clone() }.ask(&key, request).await;
        let known = keys.entry(key).or_default();
        *known = known.after(&event).map_err(|why| format!("{why}: {event:?} after {known:?}"))?;
    }
    Ok(())
}

/// What each of several clients asks, of one key or two.
fn scripts(ttls: &[Duration]) -> impl Strategy<Value = Vec<Vec<(String, Request)>>> {
    let script = prop::collection::vec((key(), request(ttls)), 1..6);
    prop::collection::vec(script, 2..=HOSTS)
}

fn with_hosts(hosts: Vec<Arc<dyn QuorumMember>>, scripts: &[Vec<(String, Request)>]) -> Vec<Script> {
    let scripts = scripts.iter().zip(hosts).enumerate();
    scripts.map(|(number, (script, cache))| Script(Client { number, cache }, script.clone())).collect()
}

#[rstest]
#[case::memory(Backend::Memory, 10_000)]
#[case::local(Backend::Local, 5000)]
#[case::redis(Backend::Redis, 3000)]
fn many_requests_at_once_happen_in_some_order(#[case] backend: Backend, #[case] cases: u32) {
    let runtime = runtime();
    let store = runtime.block_on(Store::start(backend));
    for_all(cases, scripts(&TTLS), |scripts| {
        let workers = with_hosts(store.empty(), &scripts);
        linearizability::check(&runtime.block_on(at_once(workers)))
    });
}

#[rstest]
fn a_store_that_takes_two_steps_for_one_is_found_out(#[values(Tear::Set, Tear::Delete)] tear: Tear) {
    let runtime = runtime();
    let mut agrees = |scripts: Vec<_>| {
        let torn: Arc<dyn QuorumMember> = Arc::new(Torn { memory: Memory::default(), tear });
        let workers = with_hosts(vec![torn; HOSTS], &scripts);
        linearizability::check(&runtime.block_on(at_once(workers)))
    };
    let error = try_all(2000, scripts(&[LONG]), &mut agrees).unwrap_err();
    assert!(error.to_string().contains("there is no order"), "{error}");
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let whose = || select(vec![Whose::Own, Whose::Last]);
    let wait = select(vec![Duration::ZERO, WAIT]);
    let act = prop_oneof![
        4 => (select(TTLS.to_vec()), wait).prop_map(|(ttl, wait)| Act::Lock { ttl, wait }),
        3 => whose().prop_map(Act::Unlock),
        1 => (whose(), select(TTLS.to_vec())).prop_map(|(whose, ttl)| Act::Extend(whose, ttl)),
        1 => Just(Act::Inspect),
    ];
    prop::collection::vec(act, 1..6)
}

#[rstest]
fn many_who_want_a_lock_at_once_are_served_in_some_order(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let runtime = runtime();
    let store = runtime.block_on(Store::start(backend));
    let lockers = store.lockers();
    for_all(300, prop::collection::vec(acts(), 2..=HOSTS), |people| {
        let (lock, last) = (unique().to_string(), Arc::new(Mutex::new(NO_TOKEN.to_owned())));
        let people = people.into_iter().zip(lockers.clone()).enumerate();
        let person = |(number, (acts, locker))| Person { number, locker, lock: lock.clone(), acts, last: last.clone() };
        linearizability::check(&runtime.block_on(at_once(people.map(person).collect())))
    });
}
