//! Plugins in an embedder's wasmtime that share locks, and those that would do more than share.

use std::time::Duration;

use locker_host::{LockOptions, Locker, LockerCtx, Memory, Operation, Scope};
use rstest::rstest;
use tokio::time::timeout;

use crate::harness::{Backend, Embedded, LONG, LinkMode, granted, held, run_sync, until, waiting_options};

fn scope() -> Scope {
    Scope::new("plugin").unwrap()
}

fn locker() -> Locker {
    Locker::new(Memory::default()).unwrap()
}

fn is_token(said: &str) -> bool {
    said.len() == 32 && said.chars().all(|char| char.is_ascii_hexdigit())
}

#[rstest]
#[tokio::test]
async fn a_plugin_takes_extends_and_releases_its_locks(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
    #[values(LinkMode::Locker, LinkMode::Cache)] link_mode: LinkMode,
) {
    let store = backend.start().await;
    let mut plugin = Embedded::start(link_mode, LockerCtx::new(&store.locker, scope())).await;
    let token = plugin.run(&["lock", "job", "60000", "0"]).await;
    assert!(is_token(&token), "{token}");
    assert_eq!(plugin.run(&["lock", "job", "60000", "0"]).await, "held");
    assert_eq!(store.entry("plugin/job").await.unwrap().value, token);
    assert_eq!(plugin.run(&["extend", "job", &token, "90000"]).await, "extended");
    assert_eq!(plugin.run(&["inspect", "job"]).await, "held");
    assert_eq!(plugin.run(&["unlock", "job", "another"]).await, "held by other");
    assert_eq!(plugin.run(&["unlock", "job", &token]).await, "released");
    assert_eq!(plugin.run(&["inspect", "job"]).await, "free");
}

#[rstest]
#[tokio::test]
async fn a_store_that_is_used_synchronously_will_do_as_well(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    let plugin = LockerCtx::new(&store.locker, scope());
    // Here, on a thread that a runtime drives, and on one that none does.
    assert!(is_token(&run_sync(plugin.clone(), &["lock", "a", "60000", "0"])));
    let said = std::thread::spawn(move || run_sync(plugin, &["lock", "a", "60000", "0"])).join().unwrap();
    assert_eq!(said, "held");
}

#[rstest]
#[tokio::test]
async fn plugins_of_one_namespace_share_locks_and_others_do_not(
    #[values(LinkMode::Locker, LinkMode::Cache)] link_mode: LinkMode,
) {
    let locker = locker();
    let scopes = ["a", "a", "b"].map(|namespace| Scope::new(namespace).unwrap());
    let mut said = Vec::new();
    for scope in scopes {
        said.push(
            Embedded::start(link_mode, LockerCtx::new(&locker, scope)).await.run(&["lock", "job", "60000", "0"]).await,
        );
    }
    assert!(is_token(&said[0]) && said[1] == "held" && is_token(&said[2]), "{said:?}");
}

#[rstest]
#[tokio::test]
async fn a_plugin_waits_its_turn(#[values(LinkMode::Locker, LinkMode::Cache)] link_mode: LinkMode) {
    let store = Backend::Memory.start().await;
    let lease = store.take("plugin/job", LONG).await;
    let mut plugin = Embedded::start(link_mode, LockerCtx::new(&store.locker, scope())).await;
    let wait = async move { plugin.run(&["lock", "job", "60000", "60000"]).await };
    let waiting = store.queue("plugin/job", wait).await;
    store.locker.unlock("plugin/job", lease.token).await.unwrap();
    assert!(is_token(&timeout(LONG / 2, waiting).await.unwrap().unwrap()));
}

#[rstest]
#[case::up("../other/job")]
#[case::absolute("/other/job")]
#[case::like_another("other/job")]
#[case::with_a_hash_tag("}{other}job")]
#[case::with_the_mark_of_a_fence("\u{1f}fence{lock:other/job}")]
#[case::with_a_zero("\0other/job")]
#[case::with_a_line("a\nother/job")]
#[case::very_long(&"x".repeat(600))]
#[case::empty("")]
#[tokio::test]
async fn no_name_leads_out_of_a_namespace(
    #[case] name: &str,
    #[values(LinkMode::Locker, LinkMode::Cache)] link_mode: LinkMode,
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    let lease = granted(store.locker.lock("other/job", LONG).await);
    let mut plugin = Embedded::start(link_mode, LockerCtx::new(&store.locker, scope())).await;
    for words in [&["lock", name, "60000", "0"][..], &["unlock", name, lease.token.as_str()], &["inspect", name]] {
        plugin.run(words).await;
    }
    assert_eq!(store.entry("other/job").await.unwrap().value, lease.token.as_str());
    let list = store.locker.list().await.unwrap();
    assert!(list.keys().all(|name| name == "other/job" || name.starts_with("plugin/")), "{list:?}");
}

#[rstest]
#[tokio::test]
async fn a_plugin_completes_work_and_holds_the_lock_no_longer(
    #[values(LinkMode::Locker, LinkMode::Cache)] link_mode: LinkMode,
) {
    let locker = locker();
    let ctx = LockerCtx::new(&locker, scope());
    let mut plugin = Embedded::start(link_mode, ctx.clone()).await;
    let token = plugin.run(&["lock", "job", "60000", "0"]).await;
    assert_eq!(plugin.run(&["complete", "job", &token, "60000"]).await, "released");
    assert_eq!(plugin.run(&["unlock", "job", &token]).await, "held by other");
    assert_eq!(ctx.release_all().await, 0);
    assert!(locker.inspect("plugin/job").await.unwrap().unwrap().done.is_some());
}

#[tokio::test]
async fn a_plugin_revokes_locks_only_if_its_scope_allows_that() {
    let locker = locker();
    granted(locker.lock("plugin/job", LONG).await);
    let revoke = async |scope| {
        Embedded::start(LinkMode::Locker, LockerCtx::new(&locker, scope)).await.run(&["revoke", "job"]).await
    };
    let said = revoke(scope()).await;
    assert!(said.starts_with("denied: ") && said.contains("revoke locks"), "{said}");
    assert_eq!(revoke(scope().allow_operation(Operation::Revoke)).await, "released");
}

#[rstest]
#[case::a_time_to_live(scope().max_ttl(LONG), &["lock", "job", "60001", "0"], "denied")]
#[case::a_name(scope().max_name(3), &["lock", "long", "1000", "0"], "invalid")]
#[case::taking(scope().deny(Operation::Lock), &["lock", "job", "1000", "0"], "denied")]
#[case::releasing(scope().deny(Operation::Unlock), &["unlock", "job", "token"], "denied")]
#[case::extending(scope().deny(Operation::Extend), &["extend", "job", "token", "1000"], "denied")]
#[case::a_period(scope().max_ttl(LONG), &["complete", "job", "token", "60001"], "denied")]
#[case::completing(scope().deny(Operation::Complete), &["complete", "job", "token", "1000"], "denied")]
#[case::asking(scope().deny(Operation::Inspect), &["inspect", "job"], "denied")]
#[case::waiting(scope().deny(Operation::Wait), &["lock", "held", "1000", "1000"], "denied")]
#[tokio::test]
async fn what_a_scope_does_not_allow_is_refused(
    #[case] scope: Scope,
    #[case] words: &[&str],
    #[case] class: &str,
    #[values(LinkMode::Locker, LinkMode::Cache)] link_mode: LinkMode,
) {
    let locker = locker();
    granted(locker.lock("plugin/held", LONG).await);
    let said = Embedded::start(link_mode, LockerCtx::new(&locker, scope)).await.run(words).await;
    assert!(said.starts_with(&format!("{class}: ")), "{said}");
    assert_eq!(locker.list().await.unwrap().len(), 1);
}

#[rstest]
#[tokio::test]
async fn a_plugin_holds_no_more_locks_than_it_may(#[values(LinkMode::Locker, LinkMode::Cache)] link_mode: LinkMode) {
    let locker = locker();
    let allowed = LockerCtx::new(&locker, scope().max_locks(2));
    let mut plugin = Embedded::start(link_mode, allowed.clone()).await;
    let token = plugin.run(&["lock", "a", "60000", "0"]).await;
    assert!(is_token(&plugin.run(&["lock", "b", "60000", "0"]).await));
    // Another instance of the plugin is no way around it.
    let mut another = Embedded::start(link_mode, allowed).await;
    assert!(another.run(&["lock", "c", "60000", "0"]).await.starts_with("denied: this plugin holds 2 locks"));
    assert_eq!(plugin.run(&["unlock", "a", &token]).await, "released");
    assert!(is_token(&another.run(&["lock", "c", "50", "0"]).await));
    // Once c has expired, there is room for d.
    until(async || is_token(&another.run(&["lock", "d", "60000", "0"]).await)).await;
}

#[rstest]
#[tokio::test]
async fn a_plugin_that_asks_too_often_is_refused_for_a_while(
    #[values(LinkMode::Locker, LinkMode::Cache)] link_mode: LinkMode,
) {
    let locker = locker();
    granted(locker.lock("plugin/job", LONG).await);
    let mut plugin = Embedded::start(link_mode, LockerCtx::new(&locker, scope().max_requests_per_second(20))).await;
    let mut said = String::new();
    for _ in 0..40 {
        said = plugin.run(&["lock", "job", "60000", "0"]).await;
    }
    assert!(said.starts_with("denied: this plugin has made 20 requests"), "{said}");
    until(async || plugin.run(&["lock", "job", "60000", "0"]).await == "held").await;
}

#[rstest]
#[tokio::test]
async fn no_more_calls_of_a_plugin_wait_than_may(#[values(LinkMode::Locker, LinkMode::Cache)] link_mode: LinkMode) {
    let store = Backend::Memory.start().await;
    store.take("plugin/job", LONG).await;
    let allowed = LockerCtx::new(&store.locker, scope().max_waiters(1));
    let mut first = Embedded::start(link_mode, allowed.clone()).await;
    let wait = async move { first.run(&["lock", "job", "60000", "60000"]).await };
    let waiting = store.queue("plugin/job", wait).await;
    let mut second = Embedded::start(link_mode, allowed).await;
    let said = second.run(&["lock", "job", "60000", "60000"]).await;
    assert!(said.starts_with("denied: 1 calls"), "{said}");
    waiting.abort();
    _ = waiting.await;
    assert_eq!(second.run(&["lock", "job", "60000", "1"]).await, "held");
}

#[rstest]
#[tokio::test]
async fn a_plugin_that_waits_and_never_comes_back_holds_up_nobody(
    #[values(LinkMode::Locker, LinkMode::Cache)] link_mode: LinkMode,
) {
    let locker = locker();
    let lease = granted(locker.lock("plugin/job", LONG).await);
    let mut plugin = Embedded::start(link_mode, LockerCtx::new(&locker, scope())).await;
    assert_eq!(plugin.run(&["lock", "job", "60000", "50"]).await, "held");
    locker.unlock("plugin/job", lease.token).await.unwrap();
    granted(locker.lock("plugin/job", LockOptions::from(LONG).wait(LONG / 2)).await);
}

#[rstest]
#[tokio::test]
async fn the_locks_of_a_plugin_that_trapped_can_be_released(
    #[values(LinkMode::Locker, LinkMode::Cache)] link_mode: LinkMode,
) {
    let locker = locker();
    let allowed = LockerCtx::new(&locker, scope());
    let mut plugin = Embedded::start(link_mode, allowed.clone()).await;
    plugin.run(&["lock", "a", "60000", "0"]).await;
    plugin.run(&["lock", "b", "60000", "0"]).await;
    plugin.try_run(&["trap"]).await.unwrap_err();
    drop(plugin);
    held(locker.lock("plugin/a", LONG).await);
    assert_eq!(allowed.release_all().await, 2);
    assert!(locker.list().await.unwrap().is_empty());
    assert_eq!(allowed.release_all().await, 0);
}

#[tokio::test]
async fn a_scope_within_a_scope_is_within_and_waits_in_the_same_queue() {
    let store = Backend::Memory.start().await;
    let locker = store.locker.clone();
    let outer = LockerCtx::new(&locker, Scope::new("outer").unwrap());
    let inner = LockerCtx::new(outer.locker(), Scope::new("inner").unwrap()).new_instance();
    let first = granted(locker.lock("outer/inner/job", LONG).await);
    // A lock that is called the same one level below, and its waiter, are not in the way.
    granted(locker.lock("inner/job", LONG).await);
    let other = store.waiter(&locker, "inner/job", waiting_options()).await;
    let wait = async move { inner.locker().lock("job", waiting_options()).await };
    let waiting = store.queue("outer/inner/job", wait).await;
    locker.unlock("outer/inner/job", first.token).await.unwrap();
    granted(timeout(LONG / 2, waiting).await.unwrap().unwrap());
    other.abort();
}

#[tokio::test]
async fn closing_the_host_ends_its_plugins_waits() {
    let store = Backend::Memory.start().await;
    store.take("plugin/job", LONG).await;
    let mut plugin = Embedded::start(LinkMode::Locker, LockerCtx::new(&store.locker, scope())).await;
    let wait = async move { plugin.run(&["lock", "job", "60000", "60000"]).await };
    let waiting = store.queue("plugin/job", wait).await;
    store.locker.close().await;
    let said = timeout(Duration::from_secs(10), waiting).await.unwrap().unwrap();
    assert!(said.starts_with("unavailable: "), "{said}");
}

#[test]
fn a_namespace_is_a_plain_word() {
    for namespace in ["", "a/b", "a b", "ä", "{a}", "a\n", &"x".repeat(65)] {
        assert!(Scope::new(namespace).is_err(), "{namespace:?}");
    }
    assert!(Scope::new("my-plugin_1.2").is_ok());
}
