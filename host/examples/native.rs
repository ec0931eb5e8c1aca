//! A program that must run once at a time, over memory or, with its URL as the argument, over Redis.

use std::time::Duration;

use locker_host::{Error, LockOptions, Locker, Memory, Redis, WithOutcome};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let locker = match std::env::args().nth(1) {
        Some(url) => Locker::new(Redis::connect(&url).await?)?,
        None => Locker::new(Memory::default())?,
    };
    let options = LockOptions::from(Duration::from_secs(30)).wait(Duration::from_secs(10)).owner("example");
    let report = async |lease: locker_host::Lease| {
        println!("making the report; every write of it says {}", lease.fence);
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    match locker.with("nightly-report", options, report).await? {
        WithOutcome::Done(()) => println!("done"),
        WithOutcome::Held(holder) => println!("held by {:?} for {:?} more", holder.owner, holder.ttl),
        WithOutcome::Lost { reason, .. } => println!("stopped: {reason}"),
    }
    Ok(())
}
