//! Many clients on a real Redis server that is disturbed in every way, for a limited time.

mod client;
mod disturbance;
mod report;
mod tally;

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use locker_host::Locker;
use tokio::task::JoinSet;

use crate::harness::{Protected, Proxy, RedisServer};
use client::Client;
use disturbance::Disturbance;
use report::Report;
use tally::Tally;

/// Lets clients contend for locks on a Redis server that is killed, paused and cut off meanwhile, and counts violations. Exits with 1
/// if there was one.
#[derive(Parser)]
#[command(name = "soak")]
struct Soak {
    /// How long; at least until each kind of disturbance has happened once
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration, default_value = "1min")]
    time: Duration,

    /// How many clients, each with connections of its own
    #[arg(long, default_value_t = 64)]
    clients: usize,

    /// How many locks they contend for
    #[arg(long, default_value_t = 8)]
    names: usize,

    /// Leave the server alone, to see what the clients do without it being disturbed
    #[arg(long)]
    calm: bool,

    /// Print the result in JSON
    #[arg(long)]
    json: bool,
}

/// What the clients share.
struct World {
    /// What the locks protect, by their numbers.
    protected: Vec<Mutex<Protected>>,
    tally: Tally,
    is_over: AtomicBool,
}

impl World {
    fn is_over(&self) -> bool {
        self.is_over.load(Relaxed)
    }
}

/// The program.
#[must_use]
pub fn main() -> ExitCode {
    let soak = Soak::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads can be started");
    runtime.block_on(soak.run())
}

impl Soak {
    async fn run(self) -> ExitCode {
        // A server that keeps what it has confirmed: only there two holders at a time are a violation.
        let settings = ["--appendonly", "yes", "--appendfsync", "always"].map(str::to_owned);
        let mut server = RedisServer::start_with(|_| settings.to_vec()).await;
        let proxy = Proxy::start(&server).await;
        let world = Arc::new(World {
            protected: (0..self.names).map(|_| Mutex::default()).collect(),
            tally: Tally::default(),
            is_over: AtomicBool::new(false),
        });
        let end = Instant::now() + self.time;
        let mut clients = JoinSet::new();
        for number in 0..self.clients {
            // Every other one through a proxy that loses requests and answers.
            let redis = if number % 2 == 0 { proxy.redis() } else { server.redis() };
            let locker = Locker::new(redis).expect("the component runs");
            clients.spawn(Client::new(locker, number as u64).run(world.clone()));
        }
        let progress = tokio::spawn(show(world.clone(), self.time));
        let mut disturbance = Disturbance::new();
        if !self.calm {
            while Instant::now() < end || !disturbance.has_done_all() {
                disturbance.next(&mut server, &proxy).await;
            }
        }
        tokio::time::sleep_until(end.into()).await;
        world.is_over.store(true, Relaxed);
        clients.join_all().await;
        _ = progress.await;
        let report = Report::of(&world, disturbance.counts, &server).await;
        if self.json {
            println!("{}", report.json());
        } else {
            print!("{report}");
        }
        ExitCode::from(u8::from(report.violations() > 0))
    }
}

/// Shows how it goes, on a terminal.
async fn show(world: Arc<World>, time: Duration) {
    let style = ProgressStyle::with_template("{elapsed_precise} {wide_bar} {msg}").expect("this is a template");
    let bar = ProgressBar::new(time.as_secs()).with_style(style);
    let started = Instant::now();
    while !world.is_over() {
        bar.set_position(started.elapsed().as_secs());
        bar.set_message(world.tally.to_string());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    bar.finish_and_clear();
}
