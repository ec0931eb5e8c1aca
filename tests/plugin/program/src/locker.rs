//! Uses the locker that it imports.

mod bindings {
    #![allow(missing_docs, unreachable_pub, reason = "generated")]
    wit_bindgen::generate!({
        inline: "
            package test:plugin;
            world plugin {
                import locker:locker/locker@0.1.0;
                /// Does what the words say, and answers how it went.
                export run: func(words: list<string>) -> string;
            }
        ",
        path: "../../../wit",
        generate_all,
    });
    use super::Plugin;
    export!(Plugin);
}

use bindings::locker::locker::locker::{
    Error, ExtendOutcome, LockOutcome, Options, UnlockOutcome, complete, extend, inspect, lock, revoke, unlock,
};

struct Plugin;

impl bindings::Guest for Plugin {
    fn run(words: Vec<String>) -> String {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        act(&words).unwrap_or_else(|error| match error {
            Error::Unavailable(why) => format!("unavailable: {why}"),
            Error::Denied(why) => format!("denied: {why}"),
            Error::Invalid(why) => format!("invalid: {why}"),
        })
    }
}

fn act(words: &[&str]) -> Result<String, Error> {
    Ok(match *words {
        ["lock", name, ttl_ms, wait_ms] => {
            let options =
                Options { ttl_ms: ttl_ms.parse().ok(), wait_ms: wait_ms.parse().ok(), owner: None, token: None };
            match lock(name, &options)? {
                LockOutcome::Granted(lease) => lease.token,
                LockOutcome::Held(_) => "held".to_owned(),
            }
        }
        ["unlock", name, token] => said(unlock(name, token)?),
        ["complete", name, token, ttl_ms] => said(complete(name, token, ttl_ms.parse().unwrap_or_default())?),
        ["revoke", name] => match inspect(name)? {
            Some(holder) => said(revoke(name, holder.fence)?),
            None => "free".to_owned(),
        },
        ["extend", name, token, ttl_ms] => match extend(name, token, ttl_ms.parse().unwrap_or_default())? {
            ExtendOutcome::Extended(_) => "extended",
            ExtendOutcome::Absent => "absent",
            ExtendOutcome::HeldByOther => "held by other",
        }
        .to_owned(),
        ["inspect", name] => if inspect(name)?.is_some() { "held" } else { "free" }.to_owned(),
        ["trap"] => std::process::abort(),
        _ => "what?".to_owned(),
    })
}

fn said(outcome: UnlockOutcome) -> String {
    match outcome {
        UnlockOutcome::Released => "released",
        UnlockOutcome::Absent => "absent",
        UnlockOutcome::HeldByOther => "held by other",
    }
    .to_owned()
}
