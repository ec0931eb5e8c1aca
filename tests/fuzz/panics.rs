//! Counts panics, also those of detached tasks.

use std::cell::Cell;
use std::sync::Once;

thread_local! {
    /// Of this thread: tests that run beside are none of ours.
    static PANICS: Cell<usize> = const { Cell::new(0) };
}

/// The panics of this thread until now, since this was asked for the first time.
pub(super) fn so_far() -> usize {
    static WATCHED: Once = Once::new();
    WATCHED.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICS.set(PANICS.get() + 1);
            usual(panic);
        }));
    });
    PANICS.get()
}

#[tokio::test]
async fn a_panic_in_a_task_that_nobody_waits_for_is_counted() {
    let before = so_far();
    tokio::spawn(async { panic!("on purpose") });
    tokio::task::yield_now().await;
    assert_eq!(so_far(), before + 1);
}
