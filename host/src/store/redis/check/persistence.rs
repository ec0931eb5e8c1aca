//! What a server keeps when it ends.

use super::facts::Facts;
use super::server::Server;
use crate::store::{Finding, Status};

const SUBJECT: &str = "persistence";
const REMEDY: &str = "set appendonly yes and appendfsync always, use a quorum, or rely on fences alone";

pub(super) fn finding(facts: &Facts, server: &Server<'_>) -> Finding {
    let warning = |found: &str| server.finding(SUBJECT, Status::Warning, found).remedy(REMEDY);
    match (facts.info("aof_enabled"), facts.setting("appendfsync"), facts.setting("save")) {
        (Some("1"), Some("always"), _) => {
            server.finding(SUBJECT, Status::Ok, "logs every write (appendfsync always): a restart keeps all locks")
        }
        (Some("1"), Some("no"), _) => {
            warning("appendfsync is no: a crash of its machine frees the locks of the last half minute or so")
        }
        (Some("1"), Some(policy), _) => warning(&format!(
            "appendfsync is {policy}: a crash of its machine frees the locks of the last second or so"
        )),
        (Some("1"), None, _) => {
            server.unknown(SUBJECT, "it logs writes, and whether it does for each (appendfsync) is", "+config|get")
        }
        (Some(_), _, Some("")) => warning("keeps nothing: a restart frees all locks, and no holder is told"),
        (Some(_), _, Some(_)) => {
            warning("keeps snapshots only: a crash frees the locks that were taken since the last one")
        }
        (Some(_), _, None) => warning("logs no writes: a crash frees all locks, or those since the last snapshot"),
        (None, ..) => server.unknown(SUBJECT, "what a restart keeps is", "+info and +config|get"),
    }
}
