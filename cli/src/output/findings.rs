//! The findings of a check: as a table for people, and as JSON for programs.

use std::io::IsTerminal;

use anyhow::Result;
use locker_host::{Finding, Status};
use serde_json::{Value, json};

use super::{Report, line};

impl Report {
    /// All findings, or with `--quiet` those that are not ok.
    pub(crate) fn findings(self, findings: &[Finding]) -> Result<()> {
        let worst = findings.iter().map(|finding| finding.status).max().unwrap_or(Status::Ok);
        let shown: Vec<_> = findings.iter().filter(|finding| !self.quiet || finding.status > Status::Ok).collect();
        if self.json {
            let findings: Vec<_> = shown.into_iter().map(object).collect();
            return line(&json!({ "outcome": worst.name(), "findings": findings }).to_string());
        }
        table(&shown)
    }
}

fn object(finding: &Finding) -> Value {
    let Finding { store, subject, status, found, remedy, .. } = finding;
    json!({ "store": store, "subject": subject, "status": status.name(), "found": found, "remedy": remedy })
}

/// A line for each finding, and one more for its remedy, under the store that it is about.
fn table(findings: &[&Finding]) -> Result<()> {
    let is_coloured = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
    let width = findings.iter().map(|finding| finding.subject.chars().count()).max().unwrap_or_default();
    let mut store = None;
    for finding in findings {
        if store.replace(&finding.store) != Some(&finding.store) {
            line(&finding.store)?;
        }
        let (colour, end) = if is_coloured { (colour(finding.status), "\x1b[0m") } else { ("", "") };
        let (status, subject) = (finding.status.name(), &finding.subject);
        line(&format!("  {colour}{status:<7}{end}  {subject:width$}  {}", finding.found))?;
        if let Some(remedy) = &finding.remedy {
            line(&format!("  {:7}  {:width$}  remedy: {remedy}", "", ""))?;
        }
    }
    Ok(())
}

fn colour(status: Status) -> &'static str {
    match status {
        Status::Ok => "\x1b[32m",
        Status::Warning => "\x1b[33m",
        Status::Failure => "\x1b[31m",
    }
}
