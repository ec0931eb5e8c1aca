//! Worlds of whole hosts: lockers, guards, renewals, retries and subscriptions as they ship, over servers that run the scripts as they ship.
//!
//! The time is tokio's paused clock, and a seed determines a world.
//!
//! # Layout
//!
//! - `plan`: what a world consists of; `kinds`, `quorums` and `roles`: which worlds there are; `hand_offs`: small ones, all of them.
//! - `site`: a server with its replica; `sites`: all of them; `faults` and `moves`: what goes wrong.
//! - `store`: the lockers; `network` and `cluster`: the connections of a process; `links`: what is on its way on them; `traffic`: how it passes; `asked`: requests in words.
//! - `world`: what all share; `run`: one world; `demonstration`: a world that a test plays itself.
//! - `caller` and `holding`: what processes do; `leaders`, `resumes`, `revocations`, `watchers` and `completions`: and what else; `quiet`: how a world ends.
//! - `ledger`: who has which lock; `truth`: what servers have; `waiters`: who waits; `invariants`: what must be so.
//! - `campaign`: many seeds; `shrink`: the simplest world that fails.
//! - `broken`: what must be caught; `variants` and `patch`: how it is broken.

mod asked;
mod broken;
mod caller;
mod campaign;
mod cluster;
mod completions;
mod demonstration;
mod faults;
mod hand_offs;
mod holding;
mod invariants;
mod kinds;
mod leaders;
mod ledger;
mod links;
mod moves;
mod network;
mod patch;
mod plan;
mod quiet;
mod quorums;
mod resumes;
mod revocations;
mod roles;
mod run;
mod shrink;
mod site;
mod sites;
mod store;
mod traffic;
mod truth;
mod variants;
mod waiters;
mod watchers;
mod world;

pub use broken::host_variants;
pub use campaign::{HostCampaign, host_campaign, host_hand_offs, host_report, host_story};
pub use demonstration::{HostProcess, HostWorld, in_host_world};
pub use invariants::{HostInvariant, HostViolation};
pub use plan::HostPlan;
pub use run::{HostEnded, run_host};
pub use shrink::shrink_host;
pub use variants::{Flaw as HostFlaw, Variant as HostVariant};
