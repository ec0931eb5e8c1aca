//! The check of any store, through what a lock needs of it.

use locker_host::Status;
use rstest::rstest;

use crate::harness::{Backend, LONG};

#[rstest]
#[tokio::test]
async fn a_check_takes_and_hands_over_locks_of_its_own_and_leaves_those_of_others(
    #[values(Backend::Memory, Backend::Local, Backend::Redis)] backend: Backend,
) {
    let store = backend.start().await;
    let lease = store.take("job", LONG).await;
    let before = store.entry("job").await.unwrap();
    let findings = store.locker.check().await;
    let is_ok = |subject: &str| findings.iter().any(|found| found.subject == subject && found.status == Status::Ok);
    assert!(is_ok("lock and unlock") && is_ok("hand-off"), "{findings:?}");
    assert!(findings.iter().all(|finding| finding.status < Status::Failure), "{findings:?}");
    let after = store.entry("job").await.unwrap();
    assert_eq!((after.value, after.revision), (before.value, lease.fence));
    assert_eq!(store.locker.list().await.unwrap().into_keys().collect::<Vec<_>>(), ["job"]);
}
