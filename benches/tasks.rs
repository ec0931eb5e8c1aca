//! Many tasks that share one locker, each with a lock of its own: how many pairs of lock and unlock they make on a server, beside the least
//! that a program can do, which is `SET NX PX` and a script that compares and deletes, and beside `rslock`. All in turns, each with one connection.

#![allow(clippy::expect_used, missing_docs, reason = "what fails here ends the measurement")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use locker_benches::{Server, median, processor_time};
use locker_host::{LockOptions, Locker, Redis};
use redis::Script;
use redis::aio::MultiplexedConnection;
use rslock::LockManager;
use tokio::task::JoinSet;

const TTL: Duration = Duration::from_secs(60);
const TURNS: usize = 9;
const TIME: Duration = Duration::from_millis(500);

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let server = Server::start();
    let url = server.url();
    let peers = [Peer::native(&url).await, Peer::rslock(&url), Peer::locker(&url)].map(Arc::new);
    for tasks in [1, 64, 256] {
        let mut turns: [Vec<Turn>; 3] = Default::default();
        for _ in 0..TURNS {
            for (peer, turns) in peers.iter().zip(&mut turns) {
                turns.push(Turn::measure(&server, peer, tasks).await);
            }
        }
        println!("{tasks} tasks:");
        for (turns, name) in turns.iter().zip(["native", "rslock", "locker"]) {
            let median = |part: fn(&Turn) -> f64| median(turns.iter().map(part).collect());
            let (rate, client, server) =
                (median(|turn| turn.rate), median(|turn| turn.client), median(|turn| turn.server));
            println!(
                "  {name}: {rate:.0} pairs/s; {client:.1} µs of the client's processor for a pair, {server:.1} µs of the server's"
            );
        }
        let [native, rslock, locker] = &turns;
        let ratio =
            |to: &[Turn]| median(to.iter().zip(locker).map(|(other, locker)| locker.rate / other.rate).collect());
        println!("  locker: {:.2} of native, {:.2} of rslock", ratio(native), ratio(rslock));
    }
}

/// What one turn showed: pairs a second, and the processor time of a pair in microseconds.
struct Turn {
    rate: f64,
    client: f64,
    server: f64,
}

impl Turn {
    async fn measure(server: &Server, peer: &Arc<Peer>, tasks: usize) -> Self {
        let before = (Instant::now(), processor_time("self"), server.processor_time());
        let pairs = pairs(peer, tasks).await as f64;
        let micros = |time: Duration| time.as_secs_f64() * 1e6 / pairs;
        Self {
            rate: pairs / before.0.elapsed().as_secs_f64(),
            client: micros(processor_time("self") - before.1),
            server: micros(server.processor_time() - before.2),
        }
    }
}

/// What the tasks share.
enum Peer {
    Native(MultiplexedConnection, Script),
    Rslock(LockManager),
    Locker(Locker),
}

impl Peer {
    async fn native(url: &str) -> Self {
        let client = redis::Client::open(url).expect("a URL");
        let connection = client.get_multiplexed_async_connection().await.expect("the server is there");
        let delete = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0";
        Self::Native(connection, Script::new(delete))
    }

    fn rslock(url: &str) -> Self {
        Self::Rslock(LockManager::new(vec![url.to_owned()]))
    }

    fn locker(url: &str) -> Self {
        Self::Locker(Locker::new(Redis::open(url).expect("a URL")).expect("the component runs"))
    }

    async fn pair(&self, name: &str) {
        match self {
            Self::Native(connection, delete) => {
                let (mut connection, token) = (connection.clone(), token());
                let mut set = redis::cmd("SET");
                set.arg(name).arg(&token).arg("NX").arg("PX").arg(TTL.as_secs() * 1000);
                () = set.query_async(&mut connection).await.expect("the server is there");
                let deleted = delete.key(name).arg(&token).invoke_async::<u32>(&mut connection).await;
                assert_eq!(deleted.expect("the server is there"), 1);
            }
            Self::Rslock(manager) => {
                let lock = manager.lock(name, TTL).await.expect("it is free");
                manager.unlock(&lock).await;
            }
            Self::Locker(locker) => {
                let lock = locker.lock(name, LockOptions::from(TTL)).await.expect("the server is there");
                let lease = lock.granted().expect("it is free");
                locker.unlock(name, &lease.token).await.expect("the server is there");
            }
        }
    }
}

fn token() -> String {
    format!("{:016x}{:016x}", getrandom::u64().expect("random bits"), getrandom::u64().expect("random bits"))
}

/// How many pairs the tasks make together.
async fn pairs(peer: &Arc<Peer>, tasks: usize) -> u32 {
    let (mut running, end) = (JoinSet::new(), Instant::now() + TIME);
    for number in 0..tasks {
        let (peer, name) = (peer.clone(), format!("lock-{number}"));
        running.spawn(async move {
            let mut times = 0;
            while Instant::now() < end {
                peer.pair(&name).await;
                times += 1;
            }
            times
        });
    }
    running.join_all().await.into_iter().sum()
}
