//! Any text as the address of a store.

use locker_host::{ErrorKind, Redis};

use super::{fuzz, shown};

/// The password in the URLs of the corpus.
const PASSWORD: &str = "hunter2";

const LONGEST: usize = 4096;

#[tokio::test]
async fn any_text_is_a_url_or_is_refused() {
    fuzz("urls", async |bytes| {
        // Thousands of hosts take what they take.
        let url = &String::from_utf8_lossy(&bytes[..bytes.len().min(LONGEST)]);
        match Redis::open(url) {
            Ok(redis) => {
                // A password that stands where a host, a name or a path should cannot be told from one.
                let (told, login) = (format!("{redis:?}"), login(url).unwrap_or_default());
                let elsewhere = url.replacen(login, "", 1).replace(char::is_control, "").contains(PASSWORD);
                assert!(!login.contains(PASSWORD) || elsewhere || !told.contains(PASSWORD), "{told}");
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Invalid);
                // No part of it: any part may be a secret.
                assert!(!shown(&error).contains(PASSWORD), "{error}");
                assert!(!error.to_string().chars().any(char::is_control), "{error}");
            }
        }
    })
    .await;
}

/// What stands where a login does in a URL that has one.
fn login(url: &str) -> Option<&str> {
    let (scheme, rest) = url.split_once("://")?;
    let fits = |char: char| char.is_ascii_alphanumeric() || char == '+';
    if scheme.contains("unix") || !scheme.chars().all(fits) {
        return None;
    }
    let authority = rest.split(['/', '?', '#']).next()?;
    authority.rsplit_once('@').map(|(login, _)| login)
}
