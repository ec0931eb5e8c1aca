//! Any text as the name of a lock, as a namespace and as a prefix.

use locker_host::{Cache, ErrorKind, Locker, LockerCtx, Memory, Redis, Scope, UnlockOutcome};

use super::{Watched, fuzz, is_fit, shown};
use crate::harness::{LONG, RedisServer, extended, granted, held};

#[tokio::test]
async fn any_text_is_a_name_or_is_refused() {
    let server = RedisServer::start().await;
    let (memory, redis) = (Watched::new(Memory::default()), Watched::new(Redis::open(&server.url()).unwrap()));
    let (on_memory, on_redis) = (Locker::new(memory.clone()).unwrap(), Locker::new(redis.clone()).unwrap());
    fuzz("names", async |bytes| {
        let name = &String::from_utf8_lossy(bytes);
        lock(&on_memory, &memory, name).await;
        lock(&on_redis, &redis, name).await;
        lock_in_namespace(&on_memory, name).await;
        list_under_prefix(&server, name).await;
    })
    .await;
}

/// Either it is refused before the store hears of it, or it names one lock and no other.
async fn lock<C: Cache>(locker: &Locker, store: &Watched<C>, name: &str) {
    store.asked();
    if !is_fit(name, 512) {
        for error in [
            locker.lock(name, LONG).await.unwrap_err(),
            locker.unlock(name, "token").await.unwrap_err(),
            locker.extend(name, "token", LONG).await.unwrap_err(),
            locker.inspect(name).await.unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
            // A name may be untrusted, and the error go to a terminal.
            assert!(!error.to_string().chars().any(char::is_control) && shown(&error).len() < 4096, "{error}");
        }
        assert_eq!(store.asked(), 0);
        return;
    }
    let lease = granted(locker.lock(name, LONG).await);
    assert_eq!(held(locker.lock(name, LONG).await).fence, lease.fence);
    assert_eq!(locker.list().await.unwrap().into_keys().collect::<Vec<_>>(), [name]);
    assert_eq!(extended(locker.extend(name, &lease.token, LONG).await).fence, lease.fence);
    assert_eq!(locker.inspect(name).await.unwrap().unwrap().fence, lease.fence);
    assert_eq!(locker.unlock(name, &lease.token).await.unwrap(), UnlockOutcome::Released);
    assert_eq!(locker.inspect(name).await.unwrap(), None);
}

/// As the name of a plugin's lock, and of its namespace.
async fn lock_in_namespace(locker: &Locker, name: &str) {
    let plugin = LockerCtx::new(locker, Scope::new("plugin").unwrap());
    match plugin.locker().lock(name, LONG).await {
        Ok(lock) => {
            let lease = lock.granted().unwrap();
            // The host can speak of it, too.
            assert_eq!(locker.inspect(&format!("plugin/{name}")).await.unwrap().unwrap().fence, lease.fence);
            assert_eq!(plugin.release_all().await, 1);
        }
        Err(error) => {
            let most = 512 - "plugin/".len();
            assert!(error.kind() == ErrorKind::Invalid && !is_fit(name, most), "{error}");
        }
    }
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    assert_eq!(Scope::new(name).is_ok(), is_fit(name, 64) && name.bytes().all(fits));
}

/// As what all keys begin with.
async fn list_under_prefix(server: &RedisServer, prefix: &str) {
    match Redis::open(&server.url()).unwrap().prefix(prefix) {
        Ok(redis) if prefix.len() < 1000 => {
            let (key, value) = ("job", "value");
            _ = redis.try_set(key, value, Some(LONG)).await.unwrap();
            assert_eq!(redis.keys().await.unwrap(), [key]);
            _ = redis.delete_if_equal(key, value).await.unwrap();
        }
        Ok(_) => {}
        Err(error) => {
            assert!(error.kind() == ErrorKind::Invalid && prefix.chars().any(|char| char.is_control() || char == '{'))
        }
    }
}
