//! Whatever comes from outside, nothing panics, hangs, hoards memory or tells a secret, and the answer is right or an error of
//! the right class.
//!
//! Each target takes bytes. `cargo test` gives it every file of its corpus, and then for a moment what chance makes of them,
//! the same each time. `LOCKER_FUZZ_SECONDS=600 cargo test -p locker-tests fuzz::` takes so much longer, and other chances.
//! An input that fails is added to the corpus: commit it with the fix.
//!
//! # Layout
//!
//! - `driver`: gives inputs to a target; `mutation`: makes them; `panics` and `allocations`: what it watches meanwhile.
//! - one module a target.

mod allocations;
mod arguments;
mod driver;
mod local_files;
mod local_messages;
mod local_process;
mod mutation;
mod names;
mod panics;
mod replies;
mod tokens;
mod ttls;
mod urls;
mod watched;
mod wit;

use driver::fuzz;
use watched::Watched;

/// The one rule for all text that callers pass.
fn is_fit(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// An error and all beneath it, in every form in which it may come to be shown.
fn shown(error: &dyn std::error::Error) -> String {
    let mut shown = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        shown += &format!("{error}\n{error:?}\n{error:#?}\n");
        next = error.source();
    }
    shown
}
