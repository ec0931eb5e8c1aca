//! Anything that a plugin may pass to its host, through the interface of the locker and of the cache.

use std::time::Duration;

use arbitrary::{Result, Unstructured};
use locker_host::{Locker, LockerCtx, Memory, Scope};

use super::fuzz;
use crate::harness::{Embedded, LONG, LinkMode, extended, granted};

/// So many calls are made with one input.
const CALLS: usize = 8;

fn scope() -> Scope {
    // Each lock expires soon, so each wait is short.
    let scope = Scope::new("plugin").unwrap().max_ttl(Duration::from_millis(5));
    scope.max_locks(4).max_requests_per_second(u32::MAX)
}

/// A host whose own lock is none of the plugin's business, and the two kinds of plugins.
struct Host {
    locker: Locker,
    plugins: [(LinkMode, Embedded); 2],
}

impl Host {
    async fn start() -> Self {
        let locker = Locker::new(Memory::default()).unwrap();
        let start = async |link_mode| (link_mode, Embedded::start(link_mode, LockerCtx::new(&locker, scope())).await);
        Self { plugins: [start(LinkMode::Locker).await, start(LinkMode::Force).await], locker }
    }
}

#[tokio::test]
async fn any_call_of_a_plugin_is_answered() {
    let mut host = Host::start().await;
    let lease = granted(host.locker.lock("other/job", LONG).await);
    fuzz("wit", async |bytes| {
        for (by, plugin) in &mut host.plugins {
            let mut input = Unstructured::new(bytes);
            for _ in 0..CALLS {
                // What has run dry makes calls of empty words and zeros.
                let words = call(*by, &mut input).unwrap();
                let words: Vec<_> = words.iter().map(String::as_str).collect();
                match plugin.try_run(&words).await {
                    Ok(said) => assert!(!said.contains(lease.token.as_str()) && said != "what?", "{words:?}: {said}"),
                    Err(trap) => {
                        let why = format!("{trap:?}");
                        assert!(words[0] == "raw" || words[0] == "random", "{words:?}: {why}");
                        assert!(!why.contains(lease.token.as_str()), "{why}");
                        // Who was stopped does not come back.
                        *plugin = Embedded::start(*by, LockerCtx::new(&host.locker, scope())).await;
                    }
                }
            }
        }
        // What is outside its namespace is out of reach, however long this takes.
        let longer = extended(host.locker.extend("other/job", &lease.token, LONG).await);
        assert_eq!(longer.fence, lease.fence);
    })
    .await;
}

/// What the plugin is told to do, as it understands it.
fn call(link_mode: LinkMode, input: &mut Unstructured) -> Result<Vec<String>> {
    let words: &[&str] = match link_mode {
        LinkMode::Locker => input.choose(&[
            &["lock", "text", "number", "number"][..],
            &["unlock", "text", "text"],
            &["extend", "text", "text", "number"],
            &["inspect", "text"],
        ])?,
        LinkMode::Cache | LinkMode::Force => input.choose(&[
            &["set", "text", "text", "number"][..],
            &["extend", "text", "text", "number"],
            &["delete", "text", "text"],
            &["get", "text"],
            &["set", "text", "text", "number", "number"],
            &["random", "number"],
            &["raw", "number", "number"],
        ])?,
    };
    let word = |word: &&str| match *word {
        "text" => text(input),
        "number" => number(input),
        word => Ok(word.to_owned()),
    };
    words.iter().map(word).collect()
}

/// A name that others use too, or anything.
fn text(input: &mut Unstructured) -> Result<String> {
    if input.ratio(1, 2)? {
        return Ok((*input.choose(&["a", "b", "other/job", "../other/job", ""])?).to_owned());
    }
    let bytes = input.int_in_range(0..=600)?;
    let bytes = input.bytes(bytes.min(input.len()))?;
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

/// Small, or anything.
fn number(input: &mut Unstructured) -> Result<String> {
    let number: u64 = input.arbitrary()?;
    Ok(if input.ratio(1, 2)? { number % 10 } else { number }.to_string())
}
