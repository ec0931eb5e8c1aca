//! Any text as a token, and as an owner's label.

use locker_host::{ErrorKind, ExtendOutcome, LockOptions, Locker, Memory, UnlockOutcome};

use super::{Watched, fuzz, is_fit, shown};
use crate::harness::{LONG, granted};

#[tokio::test]
async fn any_text_is_a_token_or_a_label_or_is_refused() {
    let memory = Watched::new(Memory::default());
    let locker = Locker::new(memory.clone()).unwrap();
    fuzz("tokens", async |bytes| {
        let text = &String::from_utf8_lossy(bytes);
        use_as_token(&locker, &memory, text).await;
        use_as_label(&locker, &memory, text).await;
    })
    .await;
}

/// Nothing but the whole token of a lock does anything to it.
async fn use_as_token(locker: &Locker, store: &Watched<Memory>, text: &str) {
    let lease = granted(locker.lock("job", LONG).await);
    let token = lease.token.as_str();
    let half = &token[..text.len() % token.len()];
    for wrong in [text, &format!("{text} {token}"), &format!("{token} {text}"), half, &format!("{half}{text}")] {
        store.asked();
        match (locker.unlock("job", wrong).await, locker.extend("job", wrong, LONG).await) {
            (Ok(UnlockOutcome::HeldByOther), Ok(ExtendOutcome::HeldByOther)) => assert!(is_fit(wrong, 512)),
            (Err(unlock), Err(extend)) => {
                assert!(!is_fit(wrong, 512) && store.asked() == 0);
                for error in [unlock, extend] {
                    assert!(error.kind() == ErrorKind::Invalid && !shown(&error).contains(token), "{error:?}");
                }
            }
            wrong => panic!("{wrong:?}"),
        }
    }
    assert_eq!(locker.unlock("job", token).await.unwrap(), UnlockOutcome::Released);
}

/// All callers can read a label, and none the token beside it.
async fn use_as_label(locker: &Locker, store: &Watched<Memory>, text: &str) {
    store.asked();
    match locker.lock("job", LockOptions::from(LONG).owner(text)).await {
        Ok(lock) => {
            let lease = lock.granted().unwrap();
            let secret = lease.token.as_str().strip_prefix(text).unwrap();
            assert!(is_fit(text, 128) && secret.len() == 33, "{secret}");
            let holder = locker.inspect("job").await.unwrap().unwrap();
            assert_eq!(holder.owner.as_deref(), Some(text));
            assert!(!format!("{holder:?} {lease:?}").contains(&secret[1..]));
            assert_eq!(locker.unlock("job", &lease.token).await.unwrap(), UnlockOutcome::Released);
        }
        Err(error) => {
            assert!(error.kind() == ErrorKind::Invalid && !is_fit(text, 128) && store.asked() == 0, "{error:?}");
        }
    }
}
