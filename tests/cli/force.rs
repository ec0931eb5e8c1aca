//! Taking locks from their holders.

use rstest::rstest;

use crate::harness::{Backend, LONG, Ran, until, waiting_options};

#[rstest]
#[tokio::test]
async fn the_command_of_the_holder_is_stopped_at_once(#[values(Backend::Local, Backend::Redis)] backend: Backend) {
    let store = backend.start().await;
    let exec = ["exec", "job", "--ttl", "1h", "--kill-after", "1min", "--", "sleep", "600"];
    let holder = store.command(&exec).spawn();
    until(async || store.entry("job").await.is_some()).await;
    let next = store.waiter(&store.locker, "job", waiting_options()).await;
    let forced = store.command(&["unlock", "--force", "job"]).run().await;
    assert!(forced.code == Some(0) && forced.stderr.contains("was taken from its holder"), "{forced:?}");
    assert!(next.await.unwrap().unwrap().granted().is_some());
    let stopped = Ran::of(holder).await;
    assert!(stopped.code == Some(74) && stopped.stderr.contains("stopping the command"), "{stopped:?}");
}

#[tokio::test]
async fn a_fence_names_the_holder_that_is_meant() {
    let store = Backend::Local.start().await;
    let lease = store.take("job", LONG).await;
    let force = |fence: u64| store.command(&["unlock", "--force", "job", "--fence", &fence.to_string()]);
    let other = force(lease.fence - 1).run().await;
    assert!(other.code == Some(1) && other.stderr.contains("is held with another fence"), "{other:?}");
    assert_eq!(force(lease.fence).run().await.code, Some(0));
    assert_eq!(force(lease.fence).run().await.code, Some(1), "it is absent now");
}

#[tokio::test]
async fn all_locks_of_an_owner_are_taken_after_a_yes() {
    let store = Backend::Local.start().await;
    for (name, owner) in [("a", "me"), ("b", "me"), ("c", "you")] {
        store.take(name, waiting_options().owner(owner)).await;
    }
    let unlock = ["unlock", "--owner", "me", "--all"];
    let refused = store.command(&unlock).run().await;
    assert!(refused.code == Some(64) && refused.stderr.contains("--yes"), "{refused:?}");
    assert_eq!(store.command(&[&unlock[..], &["--yes"]].concat()).run().await.code, Some(0));
    assert_eq!(store.locker.list().await.unwrap().into_keys().collect::<Vec<_>>(), ["c"]);
    assert_eq!(store.command(&unlock).run().await.code, Some(1));
}
