//! What has happened, in words.

use crate::network::Message;
use crate::request::{Applied, Notice, Outcome, Queued, Step};
use crate::table::MILLISECOND;

/// What the server did with a request.
pub(crate) fn applied(message: &Message, applied: &Applied) -> String {
    let outcome = match applied {
        Applied::Then(_) => "half done".to_owned(),
        Applied::Outcome(outcome) => described(outcome),
    };
    format!("-> {}: {outcome}", asked(&message.request.step))
}

/// A message that a client hears.
pub(crate) fn heard(notice: &Notice) -> String {
    match &notice.hand_off {
        Some(hand_off) => format!("<- {} has {} with fence {}", short(&hand_off.value), notice.key, hand_off.fence),
        None => format!("<- look at {}", notice.key),
    }
}

fn asked(step: &Step) -> String {
    let again = |again: &bool| if *again { ", again" } else { "" };
    match step {
        Step::Time => "time".to_owned(),
        Step::Subscribe => "subscribe".to_owned(),
        Step::Set { key, value, ttl_ms, last, again: repeated } => {
            let last = if *last { ", the last step" } else { "" };
            format!("set {key} {} for {ttl_ms} ms{last}{}", short(value), again(repeated))
        }
        Step::Enqueue { key, value, ttl_ms, report, again: repeated, .. } => {
            let report = if *report { ", a report" } else { "" };
            format!("enqueue {key} {} for {ttl_ms} ms{report}{}", short(value), again(repeated))
        }
        Step::Extend { key, value, ttl_ms } => format!("extend {key} {} to {ttl_ms} ms", short(value)),
        Step::Delete { key, value } => format!("delete {key} {}", short(value)),
        Step::Withdraw { key, value } => format!("withdraw {key} {}", short(value)),
        Step::Get { key } => format!("get {key}"),
        Step::Write { key, fence, .. } => format!("write to the resource that {key} guards, with fence {fence}"),
        Step::Remove { key } => format!("remove {key}"),
        Step::Expire { key, ttl_ms } => format!("expire {key} in {ttl_ms} ms"),
        Step::Store { key, value, .. } => format!("store {key} {}", short(value)),
    }
}

fn described(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Done => "done".to_owned(),
        Outcome::Late => "late".to_owned(),
        Outcome::Withdrawn => "withdrawn".to_owned(),
        Outcome::Stored { fence, left } => format!("stored with fence {fence}, {} ms left", left / MILLISECOND),
        Outcome::Occupied(entry) => format!("occupied by {} with fence {}", short(&entry.value), entry.revision),
        Outcome::Found(entry) => format!("{} with fence {}", short(&entry.value), entry.revision),
        Outcome::Queued(Queued { ahead, added, .. }) => {
            format!("{} behind {ahead}", if *added { "queued" } else { "still queued" })
        }
        Outcome::Extended { .. } => "extended".to_owned(),
        Outcome::Deleted => "deleted".to_owned(),
        Outcome::Absent => "absent".to_owned(),
        Outcome::Different => "another value is there".to_owned(),
        Outcome::Written(true) => "taken".to_owned(),
        Outcome::Written(false) => "refused".to_owned(),
    }
}

/// A token by its label and its last digits: they differ there.
fn short(value: &str) -> String {
    let (label, random) = value.rsplit_once(':').unwrap_or(("", value));
    format!("{label}#{}", random[random.len().saturating_sub(4)..].trim_start_matches('0'))
}
