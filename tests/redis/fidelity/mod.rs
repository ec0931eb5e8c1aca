//! The simulated Redis answers what a real server does: the same random requests get the same replies and messages from both. `LOCKER_TEST_SERVER` chooses
//! the real server, and the simulation imitates its version.
//!
//! `PROPTEST_CASES=25600 cargo test -p locker-tests fidelity::` tries a hundred times as much.

mod cluster;
mod commands;
mod locks;
mod replicas;
mod replies;
mod snippets;
mod twin;
mod users;
mod wire;

use std::sync::Mutex;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use tokio::runtime::{Builder, Runtime};

use twin::Twin;

/// What is done to both servers.
#[derive(Clone, Debug)]
enum Step {
    Call {
        client: usize,
        words: Vec<String>,
    },
    /// Runs a script by its hash, and loads it if the server does not know it.
    Run {
        client: usize,
        script: &'static str,
        keys: Vec<String>,
        args: Vec<String>,
    },
    /// Lets a key expire.
    Expire(String),
    /// Whether there is no memory left.
    Memory {
        full: bool,
    },
}

impl Step {
    fn client(&self) -> usize {
        match self {
            Self::Call { client, .. } | Self::Run { client, .. } => *client,
            _ => 0,
        }
    }
}

/// Stands for the value that holds the lock.
const HOLDER: &str = "HOLDER";

/// So many clients are connected.
const CLIENTS: usize = 3;

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Tries sequences of steps on a server, each from an empty database.
fn compare(cases: u32, steps: impl Strategy<Value = Vec<Step>>) {
    let runtime = runtime();
    let twin = Mutex::new(runtime.block_on(Twin::start()));
    for_all(cases, steps, |steps| {
        let mut twin = twin.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        twin.reset();
        steps.iter().try_for_each(|step| twin.take(step))?;
        twin.compare_messages()
    });
}

fn for_all<T: std::fmt::Debug>(
    cases: u32,
    strategy: impl Strategy<Value = T>,
    agrees: impl Fn(T) -> Result<(), String>,
) {
    let usual = Config::default();
    // `PROPTEST_CASES` is 256 by default.
    let cases = (u64::from(cases) * u64::from(usual.cases) / 256).try_into().unwrap();
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 500, ..usual };
    let result = TestRunner::new(config).run(&strategy, |case| agrees(case).map_err(TestCaseError::fail));
    result.unwrap_or_else(|error| panic!("{error}"));
}
