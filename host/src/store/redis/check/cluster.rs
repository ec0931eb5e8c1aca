//! The primaries of a cluster, and whether they serve all slots.

use std::collections::BTreeMap;

use redis::{Value, cmd};
use tokio::task::JoinSet;

use super::super::retry::Request;
use super::super::slot::{SLOTS, hash_tag, slot_of};
use super::{Finding, Redis, Status, unreached};

/// What a primary serves.
struct Primary {
    slots: u32,
    /// One of them: all locks are in one slot if the prefix has a hash tag.
    slot: Option<u16>,
}

impl Redis {
    /// The slots, and then each primary that locks can be on.
    pub(super) async fn check_cluster(&self, store: &str) -> Vec<Finding> {
        let (slots, info) = (cmd("CLUSTER").arg("SLOTS").to_owned(), cmd("CLUSTER").arg("INFO").to_owned());
        let ranges: Vec<Vec<Value>> = match self.connection.execute(&Request::Command(&slots)).await {
            Ok(ranges) => ranges,
            Err(error) => return vec![unreached(store, self.connection.address(), &error)],
        };
        let info: Option<String> = self.connection.execute(&Request::Command(&info)).await.ok();
        let primaries = self.primaries(&ranges);
        let mut findings = vec![self.slots(store, &primaries, info.as_deref())];
        let mut checks = JoinSet::new();
        for (address, Primary { slot, .. }) in primaries {
            let (redis, name) = (self.clone(), format!("Redis at {address}"));
            if let Some(slot) = slot {
                checks.spawn(async move { redis.check_server(name, Some(slot)).await });
            }
        }
        let mut checked = checks.join_all().await;
        checked
            .sort_by(|one, other| one.first().map(|first| &first.store).cmp(&other.first().map(|first| &first.store)));
        findings.extend(checked.into_iter().flatten());
        findings
    }

    fn primaries(&self, ranges: &[Vec<Value>]) -> BTreeMap<String, Primary> {
        let only = hash_tag(&self.prefix).map(|_| slot_of(&self.prefix));
        let mut primaries = BTreeMap::new();
        for range in ranges {
            // First and last slot, the primary, its replicas.
            let [Value::Int(first), Value::Int(last), Value::Array(primary), ..] = &range[..] else { continue };
            let (Some(address), Ok(first), Ok(last)) = (address(primary), u16::try_from(*first), u16::try_from(*last))
            else {
                continue;
            };
            let served: &mut Primary = primaries.entry(address).or_insert(Primary { slots: 0, slot: None });
            served.slots += u32::from(last.saturating_sub(first)) + 1;
            let slot = only.map_or(Some(first), |only| Some(only).filter(|only| (first..=last).contains(only)));
            served.slot = served.slot.or(slot);
        }
        primaries
    }

    fn slots(&self, store: &str, primaries: &BTreeMap<String, Primary>, info: Option<&str>) -> Finding {
        let served: u32 = primaries.values().map(|primary| primary.slots).sum();
        let missing = u32::from(SLOTS).saturating_sub(served);
        let node = primaries.keys().next().map_or("HOST:PORT", String::as_str);
        let fix = format!("redis-cli --cluster fix {node}");
        if missing > 0 {
            let found = format!("{missing} of {SLOTS} are served by no node: locks there fail");
            return Finding::new(store, "slots", Status::Failure, found).remedy(fix);
        }
        let state = info.map(|info| info.lines().find_map(|line| line.strip_prefix("cluster_state:")).unwrap_or("?"));
        let found = format!("{} primaries serve all {SLOTS}", primaries.len());
        match state {
            Some("ok") => Finding::new(store, "slots", Status::Ok, format!("{found}, and cluster_state is ok")),
            Some(state) => {
                let found = format!("{found}, and cluster_state is {state}");
                Finding::new(store, "slots", Status::Failure, found).remedy(fix)
            }
            // That locks on each primary work says as much.
            None => {
                let user = self.connection.address().user();
                let found = format!("{found}; cluster_state is unknown: the user {user} may not read it");
                Finding::new(store, "slots", Status::Ok, found)
            }
        }
    }
}

fn address(node: &[Value]) -> Option<String> {
    match node {
        [Value::BulkString(host), Value::Int(port), ..] => Some(format!("{}:{port}", String::from_utf8_lossy(host))),
        _ => None,
    }
}
