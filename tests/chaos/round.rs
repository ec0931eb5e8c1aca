//! Commands that contend for one lock, and what is done to them.

use std::fs::read_to_string;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Child;
use tokio::time::{sleep, sleep_until, timeout};

use super::World;
use super::plan::{Harm, How, Plan, Start, TTL, When, Whom};
use super::report::{Ended, Outcome};
use super::store::Link;
use super::work::notes;
use crate::harness::Command;

/// Longer than a round takes, whatever happens to it.
const LONGEST: Duration = Duration::from_secs(90);

pub(super) async fn run(world: Arc<World>, plan: Plan) -> Outcome {
    let (folder, started) = (tempfile::tempdir().expect("there is room"), Instant::now());
    let name = format!("job-{}", plan.number);
    let [a, b, c] = plan.starts;
    let one = |who, start| one(&world, folder.path(), &name, who, start);
    let (a, b, c) = tokio::join!(one("a", a), one("b", b), one("c", c));
    let ended = [a, b, c];
    // A command whose runner was killed may be on its way to be stopped.
    if ended.iter().any(Ended::is_orphan) {
        sleep(TTL).await;
    }
    let was_blocked = world.store.was_blocked_since(started);
    Outcome { number: plan.number, ended, was_blocked, notes: notes(folder.path()) }
}

async fn one(world: &World, folder: &Path, name: &str, who: &'static str, start: Start) -> Ended {
    sleep(start.after).await;
    let link = world.store.link(start.late).await;
    let child = spawn(world, folder, name, who, &start, &link);
    let runner = Pid::from_raw(child.id().and_then(|id| id.try_into().ok()).expect("it has just been started"));
    let harm = async {
        match start.harm {
            Some(harm) => harm.inflict(runner).await,
            None => false,
        }
    };
    let (was_harmed, output) = tokio::join!(harm, timeout(LONGEST, child.wait_with_output()));
    let output = output.ok().and_then(Result::ok);
    let stderr = read_to_string(folder.join(format!("{who}.stderr"))).unwrap_or_default();
    Ended { who, start, was_harmed, output, stderr }
}

fn spawn(world: &World, folder: &Path, name: &str, who: &str, start: &Start, link: &Link) -> Child {
    let ttl = format!("{}ms", TTL.as_millis());
    let exec = ["exec", name, "--ttl", &ttl, "--wait", "1min", "--kill-after", "300ms", "--"];
    let mut command = tokio::process::Command::from(
        Command::of(world.locker.clone(), &exec).env("LOCKER_CACHE", &link.url).into_std(),
    );
    command.arg(&world.work).arg("work").arg(folder);
    command.args([who, &start.work.as_millis().to_string(), &start.code.to_string()]);
    // A command that outlives its runner must not keep us waiting.
    let errors = std::fs::File::create(folder.join(format!("{who}.stderr"))).expect("the folder is there");
    command.stdout(Stdio::null()).stderr(errors).kill_on_drop(true).spawn().expect("locker is built")
}

impl Harm {
    /// Does it, and tells whether there was such a process.
    async fn inflict(self, runner: Pid) -> bool {
        let found = match self.when {
            When::After(time) => {
                sleep(time).await;
                find(self.whom, runner)
            }
            When::Granted(time) => match granted(runner).await {
                Some(granted) => {
                    sleep_until((granted + time).into()).await;
                    find(self.whom, runner)
                }
                None => None,
            },
        };
        let Some(process) = found else { return false };
        match self.how {
            How::Kill => signal(process, Signal::SIGKILL),
            How::Stop(time) => {
                let stopped = signal(process, Signal::SIGSTOP);
                sleep(time).await;
                // It is a child of ours or of the runner's, which may be gone by now.
                signal(process, Signal::SIGCONT);
                stopped
            }
            How::StopAndKill(time) => {
                let stopped = signal(process, Signal::SIGSTOP);
                sleep(time).await;
                signal(process, Signal::SIGKILL);
                stopped
            }
        }
    }
}

/// When the runner had a guardian, unless it ends without one.
async fn granted(runner: Pid) -> Option<Instant> {
    loop {
        if find(Whom::Guardian, runner).is_some() {
            return Some(Instant::now());
        }
        if !is_there(runner) {
            return None;
        }
        // Nothing tells this without looking.
        sleep(Duration::from_millis(4)).await;
    }
}

/// The guardian is forked first, and the command after it.
fn find(whom: Whom, runner: Pid) -> Option<Process> {
    let children = || read_to_string(format!("/proc/{runner}/task/{runner}/children")).unwrap_or_default();
    let child = |number| children().split_whitespace().nth(number).and_then(|id| id.parse().ok()).map(Pid::from_raw);
    let id = match whom {
        Whom::Runner => is_there(runner).then_some(runner),
        Whom::Guardian => child(0),
        // If the guardian is gone, the first child is the command.
        Whom::Command => child(1),
    };
    id.and_then(Process::new)
}

fn is_there(id: Pid) -> bool {
    read_to_string(format!("/proc/{id}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// A process that is told from a later one with the same number.
#[derive(Clone, Copy)]
struct Process {
    id: Pid,
    started: u64,
}

impl Process {
    fn new(id: Pid) -> Option<Self> {
        let stat = read_to_string(format!("/proc/{id}/stat")).ok()?;
        let started = stat.rsplit_once(") ")?.1.split(' ').nth(19)?.parse().ok()?;
        Some(Self { id, started })
    }
}

fn signal(process: Process, signal: Signal) -> bool {
    Process::new(process.id).is_some_and(|now| now.started == process.started) && kill(process.id, signal).is_ok()
}
