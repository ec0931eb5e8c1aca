//! Runs the component as it ships in simulated worlds, with faults at every point.
//!
//! The component sees the world only through `cache` and random bytes. So the binary that ships can be run in a world whose time,
//! network, server and callers are simulated, and in which only the events of a sequence of choices happen. A sequence comes from a
//! seed, or from counting through all that there are.
//!
//! # Layout
//!
//! - `choices`: where every decision comes from; `script` and `small`: what callers do, and what may go wrong.
//! - `table`, `request`, `rules`, `scripts`, `queue`: the server of `docs/protocol.md`; `network`: what is on its way.
//! - `cache`, `sim_cache`, `retry`, `waiting`, `client`, `orphan`: the client's side, as a real host has it.
//! - `world`: server, clients and clock; `process` and `port`: what runs on the clients; `waiters`: which of them are live.
//! - `guest`: the subject of the tests; `component`: what ships; `caller`: uses it.
//! - `scheduler` and `faults`: pick what happens next; `run`: one world.
//! - `ledger`: what has happened; `invariants`: what must be so; `store_checks`, `call_checks`, `state_checks`: whether it is; `trace`:
//!   what happened, in words.
//! - `campaign`: many seeds; `explore`: every small world; `shrink`: the simplest world that fails; `panics`: whether a task has panicked.
//! - `broken_rules`, `broken_queues`, `guest_variants`: what must be caught.
//! - `host`: worlds of the whole host.

mod broken_queues;
mod broken_rules;
mod cache;
mod call_checks;
mod caller;
mod campaign;
mod choices;
mod client;
mod component;
mod explore;
mod faults;
mod guest;
mod guest_variants;
mod host;
mod invariants;
mod ledger;
mod network;
mod orphan;
mod panics;
mod port;
mod process;
mod queue;
mod request;
mod retry;
mod rules;
mod run;
mod scheduler;
mod script;
mod scripts;
mod shrink;
mod sim_cache;
mod small;
mod state_checks;
mod store_checks;
mod table;
mod trace;
mod waiters;
mod waiting;
mod world;

pub use broken_queues::{
    DropsTheCaller, DropsTheFirst, HandsOffToTheDead, HasNoGrace, IgnoresReports, KeepsEntries, RepeatsFences,
    ServesTheLast,
};
pub use broken_rules::{
    AnnouncesFirst, ComparesPrefixes, ComparesThenDeletes, CountsOnly, ExpiresEarly, ExtendCreates, ExtendsAnything,
    ForgetsFences, IgnoresUseBy, LeavesNoMark, LetsAttemptsOvertake, Overwrites, RefusesRepetition, RepeatsUnmarked,
    SetsThenExpires, UsesTheClockOnly, WithdrawsAnything,
};
pub use cache::{DeleteOutcome, Entry, ExtendOutcome as ExtendIfEqualOutcome, SetOutcome, Stored, Unavailable};
pub use campaign::{Campaign, campaign, failure_of, report};
pub use choices::Choices;
pub use component::Component;
pub use explore::{Explored, explore, explore_all};
pub use guest::{Answer, Error, ExtendOutcome, Guest, Holder, Lease, LockOutcome, Options, UnlockOutcome};
pub use guest_variants::GuestVariant;
pub use host::{
    HostCampaign, HostEnded, HostFlaw, HostInvariant, HostPlan, HostProcess, HostVariant, HostViolation, HostWorld,
    host_campaign, host_hand_offs, host_report, host_story, host_variants, in_host_world, run_host, shrink_host,
};
pub use invariants::{Invariant, Violation};
pub use queue::Verdict;
pub use request::{Applied, HandOff, Notice, Outcome, Queued, Reply, Request, Step};
pub use rules::{Honest, Rules, Script};
pub use run::{Cast, Ended, run};
pub use script::Size;
pub use shrink::{Failure, shrink};
pub use sim_cache::{HostBugs, SimCache};
pub use small::{Callers, Fault, Small};
pub use table::{ClientKey, DEFAULT_TTL_MS, MILLISECOND, Micros, Queue, QueueEntry, Slot, Table};
