//! The server's clock beside this machine's. Fences follow it after a loss of data, and at a failover that of the next server.

use std::time::Duration;

use redis::{RedisResult, cmd};

use super::server::Server;
use crate::store::measure::shown;
use crate::store::{Finding, Status};
use crate::time::{WallClock, elapsed, now};

/// A difference that may matter.
const MOST: Duration = Duration::from_secs(1);
/// Of so many questions, the one that was answered fastest counts.
const QUESTIONS: usize = 3;
const REMEDY: &str = "synchronise the clocks: fences follow the server's, and never decrease if no clock is set back";

pub(super) async fn finding(server: &Server<'_>) -> RedisResult<Finding> {
    let mut best: Option<(Duration, i128)> = None;
    for _ in 0..QUESTIONS {
        let (clock, sent) = (WallClock::default(), now());
        let (seconds, micros): (u64, u64) = server.ask(&cmd("TIME")).await?;
        let round_trip = elapsed(sent);
        let here = i128::from(clock.micros()) - (round_trip / 2).as_micros().cast_signed();
        let ahead = i128::from(seconds) * 1_000_000 + i128::from(micros) - here;
        if best.is_none_or(|(least, _)| round_trip < least) {
            best = Some((round_trip, ahead));
        }
    }
    let (round_trip, ahead) = best.unwrap_or_default();
    let (status, found) = judge(round_trip / 2, ahead);
    let finding = server.finding("clock", status, found);
    Ok(if status == Status::Ok { finding } else { finding.remedy(REMEDY) })
}

fn judge(uncertainty: Duration, ahead: i128) -> (Status, String) {
    let difference = Duration::from_micros(u64::try_from(ahead.unsigned_abs()).unwrap_or(u64::MAX));
    let status = if difference.saturating_sub(uncertainty) > MOST { Status::Warning } else { Status::Ok };
    let give_or_take = format!("give or take {}", shown(uncertainty));
    if difference <= uncertainty {
        return (status, format!("agrees with the clock here, {give_or_take}"));
    }
    let direction = if ahead < 0 { "behind" } else { "ahead of" };
    (status, format!("is {} {direction} the clock here, {give_or_take}", shown(difference)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_counts_beyond_its_uncertainty() {
        let judged = |ahead| judge(Duration::from_millis(500), ahead);
        for (ahead, status, words) in [
            (400_000, Status::Ok, "agrees with the clock here, give or take 500 ms"),
            (-1_400_000, Status::Ok, "is 1.4 s behind the clock here"),
            (1_600_000, Status::Warning, "is 1.6 s ahead of the clock here"),
            (i128::MIN, Status::Warning, "behind"),
        ] {
            let (judged, found) = judged(ahead);
            assert!(judged == status && found.contains(words), "{found}");
        }
    }
}
