//! The crontab of the documentation, in the real cron.

use std::path::Path;

use crate::docs::recipe;
use crate::harness::{Machine, RedisServer};

/// A machine with the crontab, whose job starts when cron does.
fn machine(name: &'static str, shared: &Path, cache: &str) -> Machine {
    let crontab = recipe("docs/jobs.md", "/etc/cron.d/report").replace("redis://redis.internal:6379", cache);
    let crontab =
        crontab.replace("30 2 * * *", "@reboot").replace("make-report\n", "make-report; echo $? >>/mnt/exits\n");
    let machine = Machine::new(name, shared).file("/etc/cron.d/report", &crontab);
    let machine = machine.file("/usr/local/bin/make-report", "#!/bin/sh\nid -un >>/mnt/reports\n");
    machine.file("/usr/sbin/sendmail", "#!/bin/sh\ncat >>/mnt/mail\n")
}

/// Runs cron until so many jobs have ended, and cron has had the time to send a mail.
fn until_ended(jobs: usize) -> String {
    format!(
        "cron -f & until [ \"$(cat /mnt/exits 2>/dev/null | wc -l)\" = {jobs} ]; do sleep 0.05; done
        while [ $(ps -C cron -o pid= | wc -l) -gt 1 ]; do sleep 0.05; done"
    )
}

#[tokio::test]
async fn one_of_two_machines_makes_the_report_and_none_sends_a_mail() {
    let (server, shared) = (RedisServer::start().await, tempfile::tempdir().unwrap());
    let machines = ["blue", "green"].map(|name| machine(name, shared.path(), &server.url()));
    let (script, [blue, green]) = (until_ended(2), machines);
    let (blue, green) = tokio::join!(blue.run(&script), green.run(&script));
    assert_eq!((blue.code, green.code), (Some(0), Some(0)), "{blue:?} {green:?}");
    let file = |name| std::fs::read_to_string(shared.path().join(name)).ok();
    assert_eq!([file("reports"), file("exits"), file("mail")], [Some("report\n".into()), Some("0\n0\n".into()), None]);
}

#[tokio::test]
async fn a_store_that_is_away_is_reported_in_a_mail() {
    let shared = tempfile::tempdir().unwrap();
    machine("blue", shared.path(), "redis://127.0.0.1:1").run(&until_ended(1)).await;
    let file = |name| std::fs::read_to_string(shared.path().join(name)).ok();
    assert_eq!([file("reports"), file("exits")], [None, Some("69\n".into())]);
    let mail = file("mail").unwrap();
    assert!(mail.contains("cannot be reached: Connection refused"), "{mail}");
}
