//! Worlds of the real [`Quorum`](locker_host::Quorum), over simulated members.
//!
//! Processes ask members over links that lose, repeat, delay and reorder requests; members go away, hang, and lose their data. The time is
//! tokio's paused clock. One seed determines a world: its plan, the fate of each request, and the choices of the quorum.
//!
//! # Layout
//!
//! - `plan`: what a world consists of; `kinds`: worlds of the chaotic, the contended and the rolling kind.
//! - `request`: what a member is asked, and its answers; `server`: a member's data and clock; `steps`: what it does with a request;
//!   `flaws`: members that are broken on purpose.
//! - `link`: what happens to a request on its way; `member`: a link as a `QuorumMember`.
//! - `world`: what all tasks of a world share; `faults`: what goes wrong with members and links.
//! - `caller`: what processes do; `holding`: what holders do; `contention` and `quiet`: how worlds end.
//! - `ledger`: who holds which lock; `invariants`: what must be so; `words`: answers in words.
//! - `run`: one world; `campaign`: many seeds; `shrink`: a simpler world that fails.

mod caller;
mod campaign;
mod contention;
mod faults;
mod flaws;
mod holding;
mod invariants;
mod kinds;
mod ledger;
mod link;
mod member;
mod plan;
mod quiet;
mod request;
mod run;
mod server;
mod shrink;
mod steps;
mod words;
mod world;

pub use campaign::{QuorumCampaign, quorum_campaign, quorum_report};
pub use flaws::Flaw;
pub use invariants::{QuorumInvariant, QuorumViolation};
pub use plan::Plan;
pub(crate) use plan::mixed;
pub use run::{QuorumEnded, run_quorum};
pub(crate) use run::{has_panicked, watch_for_panics};
pub use shrink::shrink_quorum;
