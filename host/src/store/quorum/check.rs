//! The check of a quorum: what its members find, and what that means for a majority.

use tokio::task::JoinSet;

use super::Quorum;
use crate::store::measure::{measure, unused_key};
use crate::store::{Finding, Status};

const STORE: &str = "the quorum";

impl Quorum {
    pub(super) async fn findings(&self) -> Vec<Finding> {
        let members = self.check_members().await;
        let (all, sound) = (members.len(), members.iter().filter(|member| is_sound(member)).count());
        let has_majority = sound >= self.majority();
        let mut findings: Vec<_> = members.into_iter().flatten().collect();
        if has_majority {
            // The others decide without it.
            for finding in &mut findings {
                finding.status = finding.status.min(Status::Warning);
            }
        }
        let found = format!("{sound} of {all} are sound, and {} are needed", self.majority());
        findings.push(match (has_majority, sound == all) {
            (true, true) => Finding::new(STORE, "members", Status::Ok, found),
            (true, false) => Finding::new(STORE, "members", Status::Warning, found)
                .remedy("repair the other members: one more failure may stop all locks"),
            (false, _) => {
                Finding::new(STORE, "members", Status::Failure, found).remedy("repair the members that failed above")
            }
        });
        if has_majority {
            findings.extend(measure(self, STORE, &unused_key()).await);
        }
        findings
    }

    /// The findings of each member, under its number.
    async fn check_members(&self) -> Vec<Vec<Finding>> {
        let all = self.members.len();
        let mut checks = JoinSet::new();
        for (number, member) in self.members.iter().enumerate() {
            let store = member.store.clone();
            checks.spawn(async move { (number, store.check().await) });
        }
        // A member whose check panics has no findings, and does not work.
        let mut findings = vec![Vec::new(); all];
        while let Some(checked) = checks.join_next().await {
            let Ok((number, mut found)) = checked else { continue };
            for finding in &mut found {
                finding.store = format!("member {} of {all}: {}", number + 1, finding.store);
            }
            findings[number] = found;
        }
        findings
    }
}

fn is_sound(member: &[Finding]) -> bool {
    !member.is_empty() && member.iter().all(|finding| finding.status < Status::Failure)
}
