//! Whether a task of a world has panicked: it does so quietly otherwise.

use std::cell::Cell;
use std::panic::{set_hook, take_hook};
use std::sync::Once;

thread_local! {
    static PANICKED: Cell<bool> = const { Cell::new(false) };
}

/// Whether a task has panicked on this thread since [`watch_for_panics`].
pub(crate) fn has_panicked() -> bool {
    PANICKED.get()
}

pub(crate) fn watch_for_panics() {
    static ONCE: Once = Once::new();
    PANICKED.set(false);
    ONCE.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |panic| {
            PANICKED.set(true);
            before(panic);
        }));
    });
}
