//! Which primary each sentinel names.

use std::collections::BTreeMap;

use tokio::task::JoinSet;

use super::super::address::Address;
use super::super::failure;
use super::{Finding, Redis, Status};

const SUBJECT: &str = "sentinels";
const UNKNOWN: &str = "does not know this name";
const REMEDY: &str = "repair the sentinels: a majority of them must agree before another server takes over";

impl Redis {
    /// Asks all sentinels at a time. Nothing if there are none.
    pub(super) async fn check_sentinels(&self, store: &str) -> Vec<Finding> {
        let (Address::Sentinel { sentinels, .. }, Some(network)) =
            (self.connection.address(), self.connection.network())
        else {
            return Vec::new();
        };
        let (mut asked, timeout) = (JoinSet::new(), self.connection.timeout());
        for sentinel in sentinels.clone() {
            let network = network.clone();
            asked.spawn(async move {
                let named = network.primary_of(&sentinel, timeout).await;
                (sentinel.addr().to_string(), named)
            });
        }
        let (mut named, mut silent) = (BTreeMap::<String, usize>::new(), Vec::new());
        for (sentinel, answer) in asked.join_all().await {
            match answer {
                Ok(Some(primary)) => *named.entry(primary).or_default() += 1,
                Ok(None) => silent.push(format!("{sentinel} {UNKNOWN}")),
                Err(error) => {
                    let error = failure::translate(self.connection.address(), error).to_string();
                    let why = error.strip_prefix(store).unwrap_or(&error);
                    silent.push(format!("{sentinel}{}", why.split("; ").next().unwrap_or_default()));
                }
            }
        }
        silent.sort();
        vec![finding(store, sentinels.len(), &named, &silent)]
    }
}

fn finding(store: &str, all: usize, named: &BTreeMap<String, usize>, silent: &[String]) -> Finding {
    let mut found: Vec<_> =
        named.iter().map(|(primary, count)| format!("{count} of {all} name {primary} as the primary")).collect();
    found.extend(silent.iter().cloned());
    let status = match (named.len(), silent.len()) {
        (1, 0) => Status::Ok,
        (0, _) => Status::Failure,
        _ => Status::Warning,
    };
    let finding = Finding::new(store, SUBJECT, status, found.join(", "));
    match status {
        Status::Ok => finding,
        Status::Failure if found.iter().any(|found| found.ends_with(UNKNOWN)) => {
            finding.remedy("correct the name of the primary in the URL")
        }
        _ => finding.remedy(REMEDY),
    }
}
