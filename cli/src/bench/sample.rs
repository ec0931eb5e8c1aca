//! What was measured.

use std::fmt::Write;
use std::time::Duration;

use serde_json::{Value, json};

/// How long something took, many times.
#[derive(Default)]
pub(super) struct Sample(Vec<Duration>);

impl Sample {
    pub(super) fn add(&mut self, time: Duration) {
        self.0.push(time);
    }

    pub(super) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// The time that so much of them, from 0 to 1, did not exceed, in microseconds.
    fn quantile(&mut self, part: f64) -> f64 {
        if self.0.is_empty() {
            return f64::NAN;
        }
        let place = ((self.0.len() - 1) as f64 * part) as usize;
        let (_, time, _) = self.0.select_nth_unstable(place);
        time.as_secs_f64() * 1e6
    }
}

/// One thing that was measured, with us and without.
pub(super) struct Row {
    pub(super) what: String,
    pub(super) unit: &'static str,
    pub(super) native: f64,
    pub(super) ours: f64,
    /// More of what this says: 99 of 100 took no longer, in microseconds.
    tails: Option<(f64, f64)>,
    /// Requests to the server for each hand-off, and commands that it had to do.
    pub(super) load: Option<(f64, f64)>,
}

impl Row {
    /// Times, of which the medians count.
    pub(super) fn times(what: String, mut native: Sample, mut ours: Sample) -> Self {
        let tails = Some((native.quantile(0.99), ours.quantile(0.99)));
        Self { what, unit: "µs", native: native.quantile(0.5), ours: ours.quantile(0.5), tails, load: None }
    }

    /// Rates, of which more is better.
    pub(super) fn rates(what: String, native: f64, ours: f64) -> Self {
        Self { what, unit: "pairs/s", native, ours, tails: None, load: None }
    }

    pub(super) fn ratio(&self) -> f64 {
        self.ours / self.native
    }

    pub(super) fn json(&self) -> Value {
        let p99 = self.tails.map(|(native, ours)| json!({ "native": native, "locker": ours }));
        json!({
            "what": self.what, "unit": self.unit, "native": self.native, "locker": self.ours, "ratio": self.ratio(),
            "p99": p99, "server_requests": self.load.map(|load| load.0), "server_commands": self.load.map(|load| load.1),
        })
    }
}

pub(super) fn table(rows: &[Row]) -> String {
    let width = rows.iter().map(|row| row.what.chars().count()).max().unwrap_or_default();
    let mut table = format!("{:width$}  {:>10}  {:>10}  {:>7}  unit\n", "", "native", "locker", "ratio");
    for row in rows {
        let Row { what, unit, native, ours, .. } = row;
        // Writing to a text cannot fail.
        _ = write!(table, "{what:width$}  {native:>10.1}  {ours:>10.1}  {:>7.2}  {unit}", row.ratio());
        if let Some((native, ours)) = row.tails {
            _ = write!(table, ", p99 {native:.0} and {ours:.0}");
        }
        if let Some((requests, commands)) = row.load {
            _ = write!(table, ", {requests:.1} requests and {commands:.1} commands each");
        }
        table.push('\n');
    }
    table
}
