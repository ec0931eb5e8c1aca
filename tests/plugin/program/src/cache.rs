//! Reaches for the cache below the locker, as no honest plugin would.

mod bindings {
    #![allow(missing_docs, unreachable_pub, reason = "generated")]
    wit_bindgen::generate!({
        inline: "
            package test:plugin;
            world plugin {
                import locker:locker/cache@0.1.0;
                import wasi:random/random@0.2.0;
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

use bindings::locker::locker::cache::{
    DeleteOutcome, Error, ExtendOutcome, SetOutcome, delete_if_equal, extend_if_equal, get, replace_if_equal,
    set_if_absent,
};
use bindings::wasi::random::random::get_random_bytes;

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
        ["set", key, value, ttl_ms] => set(key, value, ttl_ms, "0")?,
        ["set", key, value, ttl_ms, wait_ms] => set(key, value, ttl_ms, wait_ms)?,
        ["extend", key, value, ttl_ms] => said(extend_if_equal(key, value, ttl_ms.parse().unwrap_or_default())?),
        ["replace", key, value, by, ttl_ms] => {
            said(replace_if_equal(key, value, by, ttl_ms.parse().unwrap_or_default())?)
        }
        ["delete", key, value] => match delete_if_equal(key, value)? {
            DeleteOutcome::Deleted => "deleted",
            DeleteOutcome::Absent => "absent",
            DeleteOutcome::Different => "different",
        }
        .to_owned(),
        ["get", key] => get(key)?.map_or_else(|| "absent".to_owned(), |entry| entry.value),
        ["random", bytes] => get_random_bytes(bytes.parse().unwrap_or(u64::MAX)).len().to_string(),
        ["raw", "no text"] => raw_get(NO_TEXT.as_ptr().addr(), NO_TEXT.len()).to_owned(),
        ["raw", pointer, length] => {
            let number = |word: &str| word.parse::<u64>().unwrap_or_default() as usize;
            raw_get(number(pointer), number(length)).to_owned()
        }
        ["ask without end", key] => loop {
            get(key)?;
        },
        _ => "what?".to_owned(),
    })
}

fn said(outcome: ExtendOutcome) -> String {
    match outcome {
        ExtendOutcome::Extended(_) => "extended",
        ExtendOutcome::Absent => "absent",
        ExtendOutcome::Different => "different",
    }
    .to_owned()
}

fn set(key: &str, value: &str, ttl_ms: &str, wait_ms: &str) -> Result<String, Error> {
    Ok(match set_if_absent(key, value, ttl_ms.parse().ok(), wait_ms.parse().unwrap_or(u64::MAX))? {
        SetOutcome::Stored(stored) => format!("stored for {} ms", stored.ttl_ms),
        SetOutcome::Occupied(entry) => format!("occupied by {}", entry.value),
    })
}

static NO_TEXT: [u8; 4] = *b"\xff\xfe\xed\xa0";

/// Passes what need be no text, nor even memory of ours, as a key.
fn raw_get(pointer: usize, length: usize) -> &'static str {
    #[link(wasm_import_module = "locker:locker/cache@0.1.0")]
    unsafe extern "C" {
        #[link_name = "get"]
        fn get(pointer: usize, length: usize, answer: *mut u8);
    }
    /// Larger than the answer.
    static mut ANSWER: [u64; 16] = [0; 16];
    // SAFETY: the host checks what it is passed, or that is what is tested; it writes its answer where there is room.
    unsafe { get(pointer, length, (&raw mut ANSWER).cast()) };
    "answered"
}
