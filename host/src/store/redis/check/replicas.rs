//! The replicas that can take over, or must confirm.

use super::facts::Facts;
use super::server::Server;
use crate::store::{Finding, Status};

const SUBJECT: &str = "replicas";

/// `needed` is what `wait-replicas` says.
pub(super) fn finding(facts: &Facts, server: &Server<'_>, needed: u32) -> Finding {
    let Some(connected) = facts.info("connected_slaves") else {
        return server.unknown(SUBJECT, "their number is", "+info");
    };
    let all = connected.parse::<usize>().unwrap_or_default();
    let is_online =
        |number: &usize| facts.info(&format!("slave{number}")).is_some_and(|replica| replica.contains("state=online"));
    let online = (0..all).filter(is_online).count();
    let needed = usize::try_from(needed).unwrap_or(usize::MAX);
    if online < needed {
        return server
            .finding(
                SUBJECT,
                Status::Failure,
                format!("{online} online, and wait-replicas={needed}: no lock is granted"),
            )
            .remedy(format!("start replicas, or lower wait-replicas to {online}"));
    }
    if online == 0 && server.address.is_redundant() {
        return server
            .finding(SUBJECT, Status::Warning, "none is online: no server can take over")
            .remedy("start a replica");
    }
    let confirms = if needed > 0 { format!(", {needed} of which must confirm each lock") } else { String::new() };
    server.finding(SUBJECT, Status::Ok, format!("{online} online{confirms}"))
}
