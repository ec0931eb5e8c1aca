//! What a lock costs on a store, through the trait [`Cache`] alone. It proves too that the store does what a lock needs.

use std::time::{Duration, Instant};

use super::{Cache, CacheError, DeleteOutcome, ErrorKind, Finding, SetOutcome, Status};
use crate::random::Random;
use crate::time::{elapsed, now};

/// How often each of the two is measured.
const ROUNDS: usize = 5;
/// When the values expire that an interrupted check leaves.
const TTL: Duration = Duration::from_secs(10);
/// How long the next caller waits for a hand-off.
const WAIT: Duration = Duration::from_secs(5);
/// A store that takes longer needs longer times to live than the usual ones.
const SLOW: Duration = Duration::from_secs(1);
const REMEDY: &str = "try again, and look at the log of the store if that does not help";

/// A key that no caller locks.
pub(crate) fn unused_key() -> String {
    format!("locker-check-{:016x}", Random::default().u64())
}

/// Takes and releases a lock, and hands it over to a caller that waits, a few times each. Stops at the first failure.
pub(crate) async fn measure<C: Cache + ?Sized>(cache: &C, store: &str, key: &str) -> Vec<Finding> {
    let (mut pairs, mut hand_offs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        match pair(cache, key).await {
            Ok(time) => pairs.push(time),
            Err(error) => return vec![Finding::of_error(store, "lock and unlock", &error).or_remedy(REMEDY)],
        }
    }
    let pair = median(pairs);
    let mut findings = vec![took(store, "lock and unlock", pair)];
    for _ in 0..ROUNDS {
        match hand_off(cache, key, time_to_queue(pair)).await {
            Ok(time) => hand_offs.push(time),
            Err(error) => {
                findings.push(Finding::of_error(store, "hand-off", &error).or_remedy(REMEDY));
                return findings;
            }
        }
    }
    findings.push(took(store, "hand-off", median(hand_offs)));
    findings
}

async fn pair<C: Cache + ?Sized>(cache: &C, key: &str) -> Result<Duration, CacheError> {
    let (value, started) = (value("holder"), now());
    take(cache, key, &value, Duration::ZERO).await?;
    release(cache, key, &value).await?;
    Ok(elapsed(started))
}

/// Hands the lock over, and answers how long that takes from the release until the next holder knows that it has the lock.
async fn hand_off<C: Cache + ?Sized>(cache: &C, key: &str, pause: Duration) -> Result<Duration, CacheError> {
    let (holder, waiter) = (value("holder"), value("waiter"));
    take(cache, key, &holder, Duration::ZERO).await?;
    let (released, taken): ((Instant, _), (Instant, _)) = tokio::join!(
        async {
            tokio::time::sleep(pause).await;
            (now(), release(cache, key, &holder).await)
        },
        async {
            let taken = take(cache, key, &waiter, WAIT).await;
            (now(), taken)
        }
    );
    if taken.1.is_ok() {
        release(cache, key, &waiter).await?;
    }
    released.1?;
    taken.1?;
    Ok(taken.0.saturating_duration_since(released.0))
}

/// Longer than a caller takes to enter the queue: it subscribes first on some stores.
fn time_to_queue(pair: Duration) -> Duration {
    (4 * pair).clamp(Duration::from_millis(5), SLOW)
}

async fn take<C: Cache + ?Sized>(cache: &C, key: &str, value: &str, wait: Duration) -> Result<(), CacheError> {
    match cache.set_if_absent(key, value, Some(TTL), wait).await {
        Ok(SetOutcome::Stored(_)) => Ok(()),
        Ok(SetOutcome::Occupied(_)) => {
            let message = "a lock that the check released is still held; check the store with its own tools";
            Err(CacheError::new(ErrorKind::Unavailable, message))
        }
        Err(error) => {
            if error.may_have_taken_effect() {
                // If this fails too, the value expires.
                _ = cache.withdraw(key, value).await;
            }
            Err(error)
        }
    }
}

async fn release<C: Cache + ?Sized>(cache: &C, key: &str, value: &str) -> Result<(), CacheError> {
    match cache.delete_if_equal(key, value).await {
        Ok(DeleteOutcome::Deleted) => Ok(()),
        Ok(DeleteOutcome::Absent | DeleteOutcome::Different) => {
            let message =
                "a lock that was granted to the check is gone; look for a program that deletes or evicts keys";
            Err(CacheError::new(ErrorKind::Unavailable, message))
        }
        Err(error) => {
            _ = cache.withdraw(key, value).await;
            Err(error)
        }
    }
}

fn value(of: &str) -> String {
    let random = Random::default();
    format!("locker-check-{of}-{:016x}{:016x}", random.u64(), random.u64())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn took(store: &str, subject: &str, time: Duration) -> Finding {
    let found = format!("takes {}", shown(time));
    if time < SLOW {
        return Finding::new(store, subject, Status::Ok, found);
    }
    Finding::new(store, subject, Status::Warning, found)
        .remedy("ask for times to live of many times that, or find out what slows the store down")
}

/// A time with three digits at most.
pub(crate) fn shown(time: Duration) -> String {
    match time.as_micros() {
        micros @ ..1000 => format!("{micros} us"),
        micros @ ..10_000 => format!("{:.1} ms", micros as f64 / 1e3),
        micros @ ..1_000_000 => format!("{} ms", micros / 1000),
        micros => format!("{:.1} s", micros as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_with_few_digits() {
        let times = [3, 4567, 89_012, 3_456_789].map(|micros| shown(Duration::from_micros(micros)));
        assert_eq!(times, ["3 us", "4.6 ms", "89 ms", "3.5 s"]);
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median([9, 1, 5].map(Duration::from_secs).into()), Duration::from_secs(5));
    }
}
