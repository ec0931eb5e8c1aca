//! No time option shortens another.

use std::time::Duration;

use crate::harness::Command;

const OPTIONS: [&str; 5] = ["--ttl", "--max-hold", "--min-hold", "--kill-after", "--wait"];
const TIMES: [&str; 4] = ["300ms", "2s", "20h", "100y"];

/// The exit code of a command that does nothing: 0, unless the two times contradict each other or the limits.
fn expected(first: (&str, Duration), second: (&str, Duration)) -> i32 {
    let of = |option: &str| [first, second].into_iter().find(|(name, _)| *name == option).map(|(_, time)| time);
    let day = Duration::from_secs(24 * 60 * 60);
    let ttl = of("--ttl").unwrap_or(Duration::from_secs(30));
    if of("--kill-after").is_some_and(|kill_after| kill_after > ttl / 2) {
        return 64;
    }
    // A lock lasts no longer than its maximum hold, whatever its time to live.
    let longest = ttl.min(of("--max-hold").unwrap_or(ttl));
    if of("--min-hold").is_some_and(|min_hold| min_hold > day) || longest > day {
        return 78;
    }
    let contradict = of("--min-hold").zip(of("--max-hold")).is_some_and(|(min_hold, max_hold)| min_hold > max_hold);
    if contradict { 64 } else { 0 }
}

#[tokio::test]
async fn each_pair_of_times_lets_a_command_end_or_is_refused() {
    for (number, first) in OPTIONS.iter().enumerate() {
        for second in &OPTIONS[number + 1..] {
            for a in TIMES {
                for b in TIMES {
                    let [time_a, time_b] = [a, b].map(|time| humantime::parse_duration(time).unwrap());
                    let ran = Command::new(&["exec", "job", first, a, second, b, "--", "true"]).run().await;
                    let code = expected((first, time_a), (second, time_b));
                    assert_eq!(ran.code, Some(code), "{first} {a} {second} {b}: {ran:?}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_maximum_hold_lets_a_shorter_command_finish() {
    for (max_hold, work) in [("1s", "0.5"), ("2s", "1.5"), ("20h", "0.1")] {
        let ran = Command::new(&["exec", "job", "--max-hold", max_hold, "--", "sleep", work]).run().await;
        assert_eq!(ran.code, Some(0), "{ran:?}");
    }
}

#[tokio::test]
async fn a_maximum_hold_is_the_reason_that_is_reported() {
    for ttl in ["1s", "30s", "1h"] {
        let arguments = ["exec", "job", "--max-hold", "1s", "--ttl", ttl, "--", "sleep", "60"];
        let ran = Command::new(&arguments).run().await;
        assert!(ran.code == Some(74) && ran.stderr.contains("it was held for as long as it may be"), "{ran:?}");
    }
}
