//! The command without a server: processes of one machine share its local store.

use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rstest::rstest;
use tokio::process::Child;

use crate::harness::{Backend, Command, Machine, Ran, send, until};

/// A machine without a server, whose user `report` has two crontabs with the same job. It works until the other one has ended.
fn machine_with_two_crontabs(shared: &Path) -> Machine {
    let job = "echo ran >>/mnt/ran\nuntil [ -s /mnt/exits ]; do sleep 0.05; done\n";
    let crontab = "@reboot report locker exec -E 9 nightly -- nightly-job; echo $? >>/mnt/exits\n";
    let crontab = format!("PATH=/usr/local/bin:/usr/bin:/bin\n{crontab}");
    let machine = Machine::new("alone", shared).file("/usr/local/bin/nightly-job", &format!("#!/bin/sh\n{job}"));
    let machine = machine.file("/usr/sbin/sendmail", "#!/bin/sh\ncat >>/mnt/mail\n");
    machine.file("/etc/cron.d/first", &crontab).file("/etc/cron.d/second", &crontab)
}

#[tokio::test]
async fn of_two_crons_that_start_a_job_at_once_one_does_it() {
    let shared = tempfile::tempdir().unwrap();
    let script = "cron -f & until [ \"$(cat /mnt/exits 2>/dev/null | wc -l)\" = 2 ]; do sleep 0.05; done";
    let ran = machine_with_two_crontabs(shared.path()).run(script).await;
    let file = |name| std::fs::read_to_string(shared.path().join(name)).ok();
    assert_eq!((ran.code, file("ran").as_deref(), file("exits").as_deref()), (Some(0), Some("ran\n"), Some("9\n0\n")));
}

#[tokio::test]
async fn a_shell_and_a_cron_job_of_the_same_user_share_the_store_and_other_users_have_their_own() {
    let shared = tempfile::tempdir().unwrap();
    let locker = "env -i PATH=$PATH locker exec nightly --";
    let script = format!(
        "{locker} sh -c 'echo >/mnt/began; until [ -e /mnt/end ]; do sleep 0.05; done' &
        until [ -e /mnt/began ]; do sleep 0.05; done
        HOME=/nowhere TMPDIR=/mnt XDG_RUNTIME_DIR=/mnt locker exec nightly -- true || echo root $? >>/mnt/codes
        setpriv --reuid 6432 --clear-groups {locker} true && echo report 0 >>/mnt/codes
        touch /mnt/end; wait"
    );
    let ran = Machine::new("alone", shared.path()).run(&script).await;
    let codes = std::fs::read_to_string(shared.path().join("codes")).unwrap();
    assert_eq!((ran.code, &codes[..]), (Some(0), "root 75\nreport 0\n"), "{ran:?}");
}

/// How a process ends before its work does.
#[derive(Clone, Copy, Debug)]
enum Death {
    Killed,
    Terminated,
    StoppedAndKilled,
    CommandKilled,
    GuardianAndThenCommandKilled,
}

impl Death {
    async fn happens(self, locker: &Child) {
        let guardian = async || children(locker).await.into_iter().find(|(_, name)| name == "locker-guardian");
        let command = async || children(locker).await.into_iter().find(|(_, name)| name != "locker-guardian");
        match self {
            Self::Killed => send(locker, Signal::SIGKILL),
            Self::Terminated => send(locker, Signal::SIGTERM),
            Self::StoppedAndKilled => {
                send(locker, Signal::SIGSTOP);
                send(locker, Signal::SIGKILL);
            }
            Self::CommandKilled => kill(command().await.unwrap().0, Signal::SIGKILL).unwrap(),
            Self::GuardianAndThenCommandKilled => {
                kill(guardian().await.unwrap().0, Signal::SIGKILL).unwrap();
                kill(command().await.unwrap().0, Signal::SIGKILL).unwrap();
            }
        }
    }
}

/// The children of a process, with their names.
async fn children(parent: &Child) -> Vec<(Pid, String)> {
    let id = parent.id().unwrap().to_string();
    let ran = Command::of("ps".into(), &["--ppid", &id, "-o", "pid=,comm="]).run().await;
    let child = |line: &str| {
        let (id, name) = line.trim().split_once(' ')?;
        Some((Pid::from_raw(id.parse().ok()?), name.trim().to_owned()))
    };
    ran.stdout.lines().filter_map(child).collect()
}

#[rstest]
#[case(&[Death::Killed, Death::CommandKilled, Death::Killed, Death::Terminated])]
#[case(&[Death::StoppedAndKilled, Death::GuardianAndThenCommandKilled, Death::StoppedAndKilled, Death::Killed])]
#[tokio::test]
async fn jobs_that_die_in_every_way_never_work_at_the_same_time(
    #[case] deaths: &[Death],
    #[values(Backend::Local, Backend::Redis)] backend: Backend,
) {
    let (store, folder) = (backend.start().await, tempfile::tempdir().unwrap());
    // The kernel frees this lock when the job dies. A job beside it exits with 99.
    let job = r#"exec flock -n -F -E 99 working sh -c "touch began-$0; exec sleep 60""#;
    let start = |number: usize| {
        let exec = ["exec", "nightly", "--ttl", "2s", "--wait", "2min", "--", "sh", "-c", job, &number.to_string()];
        store.command(&exec).current_dir(folder.path()).spawn()
    };
    for (number, death) in deaths.iter().enumerate() {
        let job = start(number);
        until(async || folder.path().join(format!("began-{number}")).exists()).await;
        let next = start(number + deaths.len());
        until(async || store.queued("nightly").await == 1).await;
        death.happens(&job).await;
        until(async || folder.path().join(format!("began-{}", number + deaths.len())).exists()).await;
        send(&next, Signal::SIGTERM);
        assert_eq!(Ran::of(next).await.signal, Some(Signal::SIGTERM));
        assert_ne!(Ran::of(job).await.code, Some(99));
    }
}
