//! What has happened, in words.

use locker_host::{Delete, Extend, Set};

use crate::network::Message;
use crate::store::{Answer, Applied, Request};

/// What the server did with a request.
pub(crate) fn applied(message: &Message, applied: &Applied) -> String {
    let asked = match &message.request {
        Request::Set { key, value, ttl_ms } => {
            format!("set-if-absent {key} {} for {}", short(value), ttl_ms.map_or("the usual time".to_owned(), millis))
        }
        Request::Extend { key, value, ttl_ms } => {
            format!("extend-if-equal {key} {} to {}", short(value), millis(*ttl_ms))
        }
        Request::Delete { key, value } => format!("delete-if-equal {key} {}", short(value)),
        Request::Get { key } => format!("get {key}"),
        Request::Watch { key } => format!("listen for the end of {key}"),
        Request::Write { key, fence, .. } => format!("write to what {key} guards, with fence {fence}"),
        Request::Remove { key } => format!("remove {key}"),
        Request::Expire { key, ttl_ms } => format!("expire {key} in {}", millis(*ttl_ms)),
    };
    let answer = match applied {
        Applied::Then(_) => "half done".to_owned(),
        Applied::Answer(Answer::Set(Set::Stored(stored))) => {
            format!("stored with fence {}, {} ms left", stored.revision, stored.ttl.as_millis())
        }
        Applied::Answer(Answer::Set(Set::Occupied(entry)) | Answer::Get(Some(entry))) => {
            format!("{} lies there with fence {}", short(&entry.value), entry.revision)
        }
        Applied::Answer(Answer::Extend(Extend::Extended(_))) => "extended".to_owned(),
        Applied::Answer(Answer::Delete(Delete::Deleted)) => "deleted".to_owned(),
        Applied::Answer(Answer::Extend(Extend::Different) | Answer::Delete(Delete::Different)) => {
            "another lies there".to_owned()
        }
        Applied::Answer(Answer::Left(Some(left))) => format!("{} ms left", left.as_millis()),
        Applied::Answer(Answer::Written(true)) => "taken".to_owned(),
        Applied::Answer(Answer::Written(false)) => "refused".to_owned(),
        Applied::Answer(_) => "absent".to_owned(),
    };
    format!("-> {asked}: {answer}")
}

/// A token by its label and its last digits: they differ there.
fn short(value: &str) -> String {
    let (label, random) = value.rsplit_once(':').unwrap_or(("", value));
    format!("{label}#{}", random[random.len().saturating_sub(4)..].trim_start_matches('0'))
}

fn millis(ms: u64) -> String {
    format!("{ms} ms")
}
