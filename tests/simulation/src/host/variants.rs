//! Scripts and hosts that are broken on purpose.

use std::time::Duration;

use super::asked::{Asked, Words};
use super::patch::Patch;

/// A host that is broken in one place.
#[derive(Clone, Copy, Debug)]
pub struct Variant {
    /// What it does wrong.
    pub name: &'static str,
    change: Change,
}

#[derive(Clone, Copy, Debug)]
enum Change {
    /// All scripts with this text have another one instead.
    Script(&'static str, &'static str),
    Host(Flaw),
}

/// What is broken between the stores and the network, and with it an order that the host keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// A repeated request leaves no mark.
    NeverMarks,
    /// A subscription is confirmed before it is made.
    SubscribesLater,
    /// Messages go to another process.
    PushesToOthers,
    /// No message arrives.
    LosesPushes,
    /// Withdrawals withdraw nothing.
    WithdrawsNothing,
    /// Releases release nothing.
    ReleasesNothing,
    /// Extensions arrive late.
    DelaysExtensions,
    /// Idle channels stay subscribed.
    NeverUnsubscribes,
    /// No waiter reports.
    NeverReports,
    /// Entries are left in the queue by the last step of a wait.
    NeverLeavesQueues,
    /// Replicas confirm what they do not have.
    ConfirmsAtOnce,
    /// No request names the ticket that it was given.
    ForgetsTickets,
    /// A revocation takes the lock from any holder.
    RevokesAnyFence,
    /// Revocations are not announced.
    NeverAnnounces,
    /// Revocations are announced with another fence.
    AnnouncesOthers,
    /// No guard listens for revocations.
    NeverListens,
    /// An outage ends a campaign.
    LeadersGiveUp,
}

impl Variant {
    pub(super) const fn script(name: &'static str, from: &'static str, to: &'static str) -> Self {
        Self { name, change: Change::Script(from, to) }
    }

    pub(super) const fn host(name: &'static str, flaw: Flaw) -> Self {
        Self { name, change: Change::Host(flaw) }
    }

    /// The changed scripts.
    pub(super) fn patch(&self) -> Option<Patch> {
        if let Change::Script(from, to) = self.change { Some(Patch::new(from, to)) } else { None }
    }

    pub(super) fn flaw(&self) -> Option<Flaw> {
        if let Change::Host(flaw) = self.change { Some(flaw) } else { None }
    }

    /// Whether there is something to change: a script may have changed since.
    #[must_use]
    pub fn applies(&self) -> bool {
        self.patch().is_none_or(|patch| !patch.is_empty())
    }
}

/// How the channel of revocations ends.
const REVOKED: &[u8] = b"revoked";

impl Flaw {
    pub(super) const LATER: Duration = Duration::from_secs(3);

    /// Changes a request, and says for how long it is delayed.
    pub(super) fn alters(self, words: &mut Words) -> Duration {
        let asked = Asked::of(words);
        let first = 3 + asked.keys.len();
        let announces = asked.what == "PUBLISH";
        let grants = asked.what == "set" || asked.what == "enqueue";
        match self {
            Self::NeverMarks if grants => words[first + 1] = b"0".to_vec(),
            Self::WithdrawsNothing if asked.what == "withdraw" => {
                words[first + 1] = b"another".to_vec();
                words[first + 2] = b"".to_vec();
            }
            Self::ReleasesNothing if asked.what == "delete" => words[first + 1] = b"another".to_vec(),
            Self::DelaysExtensions if asked.what == "extend" => return Self::LATER,
            Self::NeverReports if asked.keys.len() == 6 => {
                words[2] = b"5".to_vec();
                words.remove(8);
            }
            Self::ForgetsTickets if asked.what == "enqueue" && asked.args[3] != "0" => words[first + 5] = b"0".to_vec(),
            Self::NeverAnnounces if announces => words[1] = b"another".to_vec(),
            Self::AnnouncesOthers if announces => words[2] = [&words[2][..words[2].len() - 2], b"0\x1f0"].concat(),
            Self::NeverListens if asked.what == "SUBSCRIBE" && words[1].ends_with(REVOKED) => {
                words[1] = b"another".to_vec();
            }
            Self::NeverLeavesQueues if asked.leaves_queue() && asked.what == "set" => _ = words.pop(),
            _ => {}
        }
        Duration::ZERO
    }
}
