//! The sandbox of the component itself.

use locker_host::{ErrorKind, Limits, Locker, Memory};
use rstest::rstest;

use crate::harness::LONG;

#[rstest]
#[case::memory(Limits { memory: 64 << 10, ..Limits::default() }, "cannot be started")]
#[case::instructions(Limits { fuel: 500, ..Limits::default() }, "fuel")]
#[tokio::test]
async fn a_component_that_goes_beyond_a_limit_is_stopped(#[case] limits: Limits, #[case] words: &str) {
    let memory = Memory::default();
    let locker = Locker::with_limits(memory.clone(), limits).unwrap();
    for _ in 0..2 {
        let error = locker.lock("job", LONG).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Fault && error.to_string().contains(words), "{error}");
    }
    // Others on the same store do not notice.
    assert!(Locker::new(memory).unwrap().lock("job", LONG).await.unwrap().granted().is_some());
}
