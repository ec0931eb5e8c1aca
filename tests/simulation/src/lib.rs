//! Runs the component as it ships in simulated worlds, in which everything that can go wrong does.
//!
//! All that the component sees of the world comes through `cache` and random bytes. So the binary that ships can be run in
//! a world whose time, network, server and callers are simulated, and where nothing happens but what a sequence of
//! choices says. A sequence comes from a seed, or from counting through all that there are.
//!
//! # Layout
//!
//! - `choices`: where every decision comes from; `script`: what callers are to do, and what may go wrong.
//! - `store`: the server and its rules; `network`: what is on its way to it; `world`: both, with the clock.
//! - `port`: a process' way to the world; `lent`: the cache on the client's side; `give_back`: what becomes of what
//!   nobody came to own. These do what the real host does.
//! - `guest`: what is put to the test; `component`: what ships; `caller`: who uses it.
//! - `scheduler`: picks what happens next; `run`: one world.
//! - `ledger`: what has happened; `invariants`: what must be so; `story`: what is told.
//! - `campaign`: many seeds; `explore`: every small world; `shrink`: the simplest world that fails.
//! - `broken_stores`, `broken_guests`: what must be caught.

mod broken_guests;
mod broken_stores;
mod caller;
mod campaign;
mod choices;
mod component;
mod explore;
mod give_back;
mod guest;
mod invariants;
mod ledger;
mod lent;
mod network;
mod port;
mod run;
mod scheduler;
mod script;
mod shrink;
mod store;
mod story;
mod world;

pub use broken_guests::Native;
pub use broken_stores::{
    ComparesPrefixes, ComparesThenDeletes, CountsOnly, ExpiresEarly, ExtendCreates, ExtendsAnything, ForgetsRevisions,
    LooksAtTheClockOnly, Overwrites, RefusesRepetition, SetsThenExpires,
};
pub use campaign::{Campaign, campaign, failure_of, report};
pub use choices::Choices;
pub use component::Component;
pub use explore::{Explored, explore, explore_all};
pub use guest::{
    Answer as GuestAnswer, Error, ExtendOutcome, Guest, Holder, Lease, LockOutcome, Options, UnlockOutcome,
};
pub use invariants::{Invariant, Violation};
pub use lent::{Habits, Lent, Unavailable};
pub use run::{Cast, Ended, run};
pub use script::{Size, Small};
pub use shrink::{Failure, shrink};
pub use store::{Answer, Applied, DEFAULT_TTL_MS, Honest, MILLISECOND, Micros, Request, Rules, Slot, Table, span};
