//! The units of the documentation, in the real systemd.

use std::path::Path;

use crate::docs::recipe;
use crate::harness::{Machine, RedisServer, until};

const UNITS: [&str; 3] = ["report.service", "report.timer", "scheduler.service"];

/// A machine with the units, whose programs note that they ran.
fn machine(name: &'static str, shared: &Path, server: &RedisServer) -> Machine {
    let machine = Machine::new(name, shared)
        .file("/etc/locker.env", &format!("LOCKER_CACHE={}", server.url()))
        .file("/usr/local/bin/make-report", "#!/bin/sh\nhostname >>/mnt/reports\n")
        .file("/usr/local/bin/scheduler", "#!/bin/sh\nhostname >>/mnt/active; exec sleep infinity\n");
    UNITS.into_iter().map(|unit| format!("/etc/systemd/system/{unit}")).fold(machine, |machine, path| {
        let unit = recipe("docs/jobs.md", &path);
        machine.file(&path, &unit)
    })
}

#[tokio::test]
async fn the_units_are_valid() {
    let (server, shared) = (RedisServer::start().await, tempfile::tempdir().unwrap());
    let units = UNITS.join(" ");
    let output =
        machine("blue", shared.path(), &server).boot(&format!("systemd-analyze verify --man=no {units}")).await;
    assert_eq!(output, "");
}

#[tokio::test]
async fn one_of_two_machines_makes_the_report_and_both_succeed() {
    let (server, shared) = (RedisServer::start().await, tempfile::tempdir().unwrap());
    let [blue, green] = ["blue", "green"].map(|name| machine(name, shared.path(), &server));
    tokio::join!(blue.boot("systemctl start report.service"), green.boot("systemctl start report.service"));
    assert_eq!(std::fs::read_to_string(shared.path().join("reports")).unwrap().lines().count(), 1);
}

#[tokio::test]
async fn a_standby_takes_over_when_the_service_stops() {
    let (server, shared) = (RedisServer::start().await, tempfile::tempdir().unwrap());
    let until_active = |name| format!("until grep -qs {name} /mnt/active; do sleep 0.05; done\n");
    let start = "systemctl start scheduler.service\n";
    let active = format!("{start}until [ -e /mnt/queued ]; do sleep 0.05; done\nsystemctl stop scheduler.service");
    let standby = format!("{}{start}{}", until_active("blue"), until_active("green"));
    let [blue, green] = ["blue", "green"].map(|name| machine(name, shared.path(), &server));
    let stop = async {
        until(async || server.queued("scheduler").await == 1).await;
        std::fs::write(shared.path().join("queued"), "").unwrap();
    };
    tokio::join!(blue.boot(&active), green.boot(&standby), stop);
    assert_eq!(std::fs::read_to_string(shared.path().join("active")).unwrap(), "blue\ngreen\n");
}

#[tokio::test]
async fn the_command_receives_what_the_unit_says() {
    let (server, shared) = (RedisServer::start().await, tempfile::tempdir().unwrap());
    let show = "grep -E '^(Sig(Blk|Ign)|Umask)' /proc/self/status; pwd; ulimit -a; id; echo $VARIABLE";
    let unit = |start: &str| {
        format!(
            "[Service]\nType=oneshot\nUser=report\nUMask=0027\nLimitNOFILE=99\nWorkingDirectory=/usr\nEnvironment=VARIABLE=x\n\
            EnvironmentFile=/etc/locker.env\nExecStart={start} sh /etc/show.sh\nStandardOutput=append:/mnt/shown"
        )
    };
    let machine = machine("blue", shared.path(), &server).file("/etc/show.sh", show);
    let machine = machine.file("/etc/systemd/system/plain.service", &unit(""));
    let machine = machine.file("/etc/systemd/system/locked.service", &unit("locker -q exec job -- "));
    machine.boot("for unit in plain locked; do systemctl start $unit; mv /mnt/shown /mnt/$unit; done").await;
    let [plain, locked] = ["plain", "locked"].map(|name| std::fs::read_to_string(shared.path().join(name)).unwrap());
    assert!(plain.contains("0027") && plain.contains("/usr"), "{plain}");
    assert_eq!(plain, locked);
}
