//! Measuring what locks cost on a store, beside what the store itself costs.

mod chart;
mod hand_off;
mod native;
mod pairs;
mod sample;

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use locker_host::{Locker, Redis};
use serde_json::json;

use crate::args::Bench;
use crate::exit_code::{CliError, Exit};
use crate::output::Report;
use native::Native;
use sample::Row;

/// Measures, and reports the result.
pub(crate) async fn bench(url: Option<&str>, bench: Bench, report: Report) -> Result<Exit> {
    let url = match url {
        Some(url) if url.starts_with("redis://") && !url.contains(',') => url,
        _ => bail!(CliError(
            Exit::Usage,
            "bench measures one Redis server: name it with --cache redis://HOST".to_owned()
        )),
    };
    // Names that no other program locks.
    let prefix = format!("locker-bench-{}:", std::process::id());
    let store = Store { url: url.to_owned(), prefix };
    let progress = Progress::start(report, 2 + bench.waiters.len() as u64);
    let mut rows = vec![progress.step("one client", pairs::one_client(&store, bench.time)).await?];
    let clients = bench.clients;
    rows.push(progress.step(&format!("{clients} clients"), pairs::many_clients(&store, clients, bench.time)).await?);
    for waiters in bench.waiters {
        rows.push(progress.step(&format!("{waiters} waiters"), hand_off::measure(&store, waiters, bench.time)).await?);
    }
    progress.end();
    if let Some(file) = &bench.svg {
        std::fs::write(file, chart::svg(&rows)).with_context(|| format!("cannot write {}", file.display()))?;
    }
    if report.is_json() {
        println!("{}", json!({ "rows": rows.iter().map(Row::json).collect::<Vec<_>>() }));
    } else {
        print!("{}", sample::table(&rows));
    }
    Ok(Exit::Done)
}

/// The server that is measured.
struct Store {
    url: String,
    prefix: String,
}

impl Store {
    /// A locker with a connection of its own.
    fn locker(&self) -> Result<Locker> {
        Ok(Locker::new(Redis::open(&self.url)?.prefix(&self.prefix)?)?)
    }

    /// The same without any of ours, with a connection of its own.
    async fn native(&self) -> Result<Native> {
        Native::connect(&self.url, &self.prefix).await
    }
}

/// Shows how far it is, on a terminal.
struct Progress(Option<ProgressBar>);

impl Progress {
    fn start(report: Report, steps: u64) -> Self {
        let bar = report.is_watched().then(|| {
            let bar = ProgressBar::new(steps);
            match ProgressStyle::with_template("{bar:40} {pos}/{len} {msg}") {
                Ok(style) => bar.with_style(style),
                Err(_) => bar,
            }
        });
        Self(bar)
    }

    async fn step<T>(&self, name: &str, step: impl Future<Output = T>) -> T {
        if let Some(bar) = &self.0 {
            bar.set_message(name.to_owned());
            bar.tick();
        }
        let done = step.await;
        self.0.iter().for_each(|bar| bar.inc(1));
        done
    }

    fn end(&self) {
        self.0.iter().for_each(ProgressBar::finish_and_clear);
    }
}
