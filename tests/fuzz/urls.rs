//! Any text as the address of a store.

use locker_host::{ErrorKind, Redis};

use super::{fuzz, shown};

/// The password in the URLs of the corpus.
const PASSWORD: &str = "hunter2";

#[tokio::test]
async fn any_text_as_a_url() {
    fuzz("urls", async |bytes| {
        let url = &String::from_utf8_lossy(bytes);
        match Redis::open(url) {
            Ok(redis) => {
                // A password that stands where a host or a name should cannot be told from one.
                let told = format!("{redis:?}");
                let (secret, open) = parts(url);
                assert!(!secret.contains(PASSWORD) || open.contains(PASSWORD) || !told.contains(PASSWORD), "{told}");
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Invalid);
                // No part of it: nobody knows what was meant by what.
                assert!(!shown(&error).contains(PASSWORD), "{error}");
                assert!(!error.to_string().chars().any(char::is_control), "{error}");
            }
        }
    })
    .await;
}

/// What stands where a login does, and the rest.
fn parts(url: &str) -> (&str, &str) {
    if url.split_once(':').is_some_and(|(scheme, _)| scheme.trim_start().to_ascii_lowercase().ends_with("unix")) {
        let (path, query) = url.split_once('?').unwrap_or((url, ""));
        return (query, path);
    }
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.rsplit_once('@').unwrap_or(("", rest))
}
