//! What came of it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use locker_host::Locker;
use serde_json::json;

use super::World;
use super::client::{self, TTL};
use crate::harness::RedisServer;

/// What came of it.
pub(super) struct Report {
    load: Vec<(&'static str, u64)>,
    slowest: Duration,
    faults: BTreeMap<&'static str, u64>,
    violations: Vec<(&'static str, u64)>,
}

impl Report {
    /// Looks at everything, when all clients have ended.
    pub(super) async fn of(world: &World, faults: BTreeMap<&'static str, u64>, server: &RedisServer) -> Self {
        let left = left_behind(&server.locker()).await;
        let sum = |count: fn(&crate::harness::Protected) -> usize| {
            (0..world.protected.len()).map(|number| count(&client::lock(world, number)) as u64).sum()
        };
        let tally = &world.tally;
        let mut load = tally.rows().to_vec();
        load.push(("holders that came too late, refused by their fence", sum(|protected| protected.refused)));
        let violations = vec![
            ("held by two at a time", sum(|protected| protected.overlaps.len())),
            ("fences granted twice", sum(|protected| protected.repeated.len())),
            ("locks that were gone before their time", tally.lost.get()),
            ("locks that stayed past their time", left),
            ("calls that did not end", tally.endless.get()),
            ("errors of another class", tally.other_errors.get()),
        ];
        Self { load, slowest: tally.slowest(), faults, violations }
    }

    pub(super) fn violations(&self) -> u64 {
        self.violations.iter().map(|(_, count)| count).sum()
    }

    pub(super) fn json(&self) -> serde_json::Value {
        let object =
            |rows: &[(&str, u64)]| rows.iter().map(|(what, count)| ((*what).to_owned(), (*count).into())).collect();
        let [load, violations] = [&self.load, &self.violations].map(|rows| serde_json::Value::Object(object(rows)));
        json!({ "load": load, "slowest_call_ms": self.slowest.as_secs_f64() * 1000.0, "faults": self.faults, "violations": violations })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, count) in &self.load {
            writeln!(f, "{count:>10}  {what}")?;
        }
        writeln!(f, "{:>10}  the slowest call", format!("{:.1?}", self.slowest))?;
        writeln!(f, "\nwhile the server suffered")?;
        for (what, count) in &self.faults {
            writeln!(f, "{count:>10}  {what}")?;
        }
        writeln!(f, "\nviolations")?;
        for (what, count) in &self.violations {
            writeln!(f, "{count:>10}  {what}")?;
        }
        Ok(())
    }
}

/// Counts the locks that are there when the last one must have ended.
async fn left_behind(locker: &Locker) -> u64 {
    tokio::time::sleep(TTL + Duration::from_millis(100)).await;
    locker.list().await.map_or(u64::MAX, |locks| locks.len() as u64)
}
