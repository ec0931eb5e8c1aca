//! One turn.

use std::time::Duration;

mod bindings {
    #![allow(missing_docs, unreachable_pub, reason = "generated")]
    wit_bindgen::generate!({ path: "../../../wit", world: "plugin" });
}

use bindings::locker::locker::locker::{LockOutcome, Options, UnlockOutcome, lock, unlock};

pub(crate) fn take_turn() -> Result<(), String> {
    let (ttl_ms, wait_ms, owner) = (Some(10_000), Some(60_000), Some("rust".to_owned()));
    let options = Options { ttl_ms, wait_ms, owner, token: None };
    let lease = match lock("shared", &options).map_err(|error| error.to_string())? {
        LockOutcome::Granted(lease) => lease,
        LockOutcome::Held(holder) => return Err(format!("the lock is held by {:?}", holder.owner)),
    };
    println!("enter {}", lease.fence);
    // Long enough for another to come in between, if the lock let it.
    std::thread::sleep(Duration::from_millis(10));
    println!("leave {}", lease.fence);
    match unlock("shared", &lease.token).map_err(|error| error.to_string())? {
        UnlockOutcome::Released => Ok(()),
        outcome => Err(format!("the lock was not released: {outcome:?}")),
    }
}
