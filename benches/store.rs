//! `locker bench` on a Redis server of its own. It draws the chart of `docs/performance.md` too.

#![allow(clippy::expect_used, missing_docs, reason = "what fails here ends the measurement")]

fn main() {
    let server = locker_benches::Server::start();
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/chart.svg");
    let mut bench = std::process::Command::new(locker_benches::locker());
    let status = bench.args(["--cache", &server.url(), "bench", "--for", "5s", "--svg", chart]).status();
    assert!(status.expect("it can be started").success());
}
