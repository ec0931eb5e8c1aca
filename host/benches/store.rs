//! `locker bench` on a Redis server of its own. It draws the chart of `docs/performance.md` too.

#![allow(clippy::expect_used, missing_docs, reason = "what fails here ends the measurement")]

mod common;

fn main() {
    let server = common::Server::start();
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/chart.svg");
    let mut bench = std::process::Command::new(env!("CARGO_BIN_EXE_locker"));
    let status = bench.args(["--cache", &server.url(), "bench", "--for", "5s", "--svg", chart]).status();
    assert!(status.expect("it can be started").success());
}
