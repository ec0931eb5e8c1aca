//! Any time as a time to live, to wait, to hold, or to be allowed.

use std::time::Duration;

use locker_host::{Error, ErrorKind, Limits, LockOptions, LockOutcome, Locker, LockerCtx, Memory, Redis, Scope};

use super::fuzz;
use crate::harness::{LONG, RedisServer, until};

#[tokio::test]
async fn any_time_to_live_is_used_or_is_refused() {
    let server = RedisServer::start().await;
    let redis = || Redis::open(&server.url()).unwrap();
    let boundless = Limits { max_ttl: Duration::MAX, ..Limits::default() };
    let lockers = [
        Locker::new(Memory::default()),
        Locker::with_limits(Memory::default(), boundless),
        Locker::new(redis()),
        Locker::with_limits(redis().prefix("boundless:").unwrap(), boundless),
    ];
    let lockers = lockers.map(Result::unwrap);
    fuzz("ttls", async |bytes| {
        // The same times again and again, should there be too few.
        let mut times = times(&String::from_utf8_lossy(bytes)).collect::<Vec<_>>().into_iter().cycle();
        let mut next = || times.next().unwrap_or_default();
        let (ttl, other, most) = (next(), next(), next());
        for (locker, allowed) in lockers.iter().zip([Limits::default(), boundless, Limits::default(), boundless]) {
            take(locker, allowed.max_ttl, ttl, other).await;
            hold(locker, ttl, other, most).await;
            let plugin = LockerCtx::new(locker, Scope::new("plugin").unwrap().max_ttl(most));
            take(plugin.locker(), allowed.max_ttl.min(most), ttl, other).await;
            hold(plugin.locker(), ttl, most, other).await;
        }
    })
    .await;
}

/// Numbers of milliseconds, or of another unit if one follows; fractions are rounded up, as by the host.
fn times(text: &str) -> impl Iterator<Item = Duration> {
    text.split_whitespace().filter_map(|word| {
        let (number, unit) = word.split_at(word.find(|char: char| !char.is_ascii_digit()).unwrap_or(word.len()));
        let number = number.parse().ok()?;
        let time = match unit {
            "s" => Duration::from_secs(number),
            "ns" => Duration::from_nanos(number),
            _ => Duration::from_millis(number),
        };
        // The contract knows whole milliseconds, and no more of them.
        let millis = u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        Some(Duration::from_millis(millis))
    })
}

/// A store that can count so far grants it; else it is an error of the one who asked.
#[track_caller]
fn expect(error: &Error, ttl: Duration, most: Duration) {
    let kind = error.kind();
    match ttl {
        Duration::ZERO => assert_eq!(kind, ErrorKind::Invalid, "{error}"),
        _ if ttl > most => assert!(matches!(kind, ErrorKind::Denied | ErrorKind::Invalid), "{error}"),
        // The answer may take longer than that.
        _ if kind == ErrorKind::Expired => assert!(ttl < LONG, "{ttl:?}: {error}"),
        _ => assert!(kind == ErrorKind::Invalid && ttl > A_LIFETIME, "{ttl:?}: {error}"),
    }
}

const A_LIFETIME: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

async fn take(locker: &Locker, most: Duration, ttl: Duration, other: Duration) {
    // The lock is free, so a wait of any length ends at once.
    match locker.lock("job", LockOptions::from(ttl).wait(other)).await {
        Ok(lock) => {
            let lease = lock.granted().unwrap();
            assert!(!ttl.is_zero() && ttl <= most && lease.ttl <= ttl, "{ttl:?} {lease:?}");
            match locker.extend("job", &lease.token, other).await {
                Ok(_) => assert!(!other.is_zero() && other <= most, "{other:?}"),
                Err(error) => expect(&error, other, most),
            }
            _ = locker.unlock("job", &lease.token).await.unwrap();
        }
        Err(error) if error.kind() == ErrorKind::Expired => {
            expect(&error, ttl, most);
            // It is withdrawn in the background.
            return until(async || locker.inspect("job").await.unwrap().is_none()).await;
        }
        Err(error) => expect(&error, ttl, most),
    }
    assert_eq!(locker.inspect("job").await.unwrap(), None);
}

/// A guard that is asked for the impossible gives way without harm.
async fn hold(locker: &Locker, ttl: Duration, most: Duration, grace: Duration) {
    for release_after in [None, Some(grace)] {
        let options = LockOptions::from(ttl).max_hold(most).expiry_margin(grace);
        let Ok(LockOutcome::Granted(guard)) = locker.hold("held", options).await else { return };
        let lease = guard.lease();
        tokio::task::yield_now().await;
        match release_after {
            None => drop(guard),
            Some(time) => _ = guard.release_after(time).await,
        }
        _ = locker.unlock("held", &lease.token).await.unwrap();
    }
}
