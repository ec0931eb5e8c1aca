//! Processes that lead one after the other, and write to a register that refuses lower fences.

use std::path::PathBuf;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::{Command, Monitored, Ran, RedisServer, until, until_elected};

/// What a leader does until it is told to end.
const WORK: &str = r#"
    while ! [ -e "$END" ]; do
        redis-cli -u "$REGISTER" EVAL "$WRITE" 2 account log "$LOCKER_FENCE" "$LEADER" >/dev/null
        sleep 0.02
    done
    exit 7"#;

/// A write to the register. All answers are in its log.
const WRITE: &str = "
    local answer = 'accepted'
    if tonumber(ARGV[1]) < tonumber(redis.call('HGET', KEYS[1], 'fence') or 0) then answer = 'refused' end
    if answer == 'accepted' then redis.call('HSET', KEYS[1], 'fence', ARGV[1]) end
    redis.call('RPUSH', KEYS[2], answer .. ' ' .. ARGV[2] .. ' ' .. ARGV[1])";

/// The register, and how leaders are started.
pub(crate) struct Leaders {
    cache: String,
    register: RedisServer,
    folder: TempDir,
}

/// A process of `locker lead`.
pub(crate) struct Leader {
    pub(crate) locker: Monitored,
    end: PathBuf,
}

/// A write in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Write {
    pub(crate) accepted: bool,
    pub(crate) leader: String,
    pub(crate) fence: u64,
}

impl Leaders {
    /// Leaders on this store.
    pub(crate) async fn on(cache: String) -> Self {
        Self { cache, register: RedisServer::start().await, folder: tempfile::tempdir().unwrap() }
    }

    /// Starts a process that campaigns for the lock `job`.
    pub(crate) fn start(&self, name: &str, options: &[&str]) -> Leader {
        let command = ["--", "sh", "-c", WORK];
        let lead = Command::new(&[&["lead", "job", "--owner", name], options, &command].concat());
        let end = self.folder.path().join(name);
        let lead = lead.env("LOCKER_CACHE", &self.cache).env("REGISTER", &self.register.url());
        let lead = lead.env("WRITE", WRITE).env("LEADER", name).env("END", end.to_str().unwrap());
        Leader { locker: Monitored::start(lead), end }
    }

    pub(crate) async fn log(&self) -> Vec<Write> {
        let log: Vec<String> = self.register.run(&["LRANGE", "log", "0", "-1"]).await;
        let write = |line: String| {
            let [answer, leader, fence] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
            Write { accepted: answer == "accepted", leader: leader.to_owned(), fence: fence.parse().unwrap() }
        };
        log.into_iter().map(write).collect()
    }

    /// Waits until the last accepted write is that of a leader, and answers its fence.
    #[track_caller]
    pub(crate) fn led_by(&self, name: &str) -> impl Future<Output = u64> {
        let last = async move || self.log().await.into_iter().rfind(|write| write.accepted);
        let leads = until(async move || last().await.is_some_and(|write| write.leader == name));
        async move {
            leads.await;
            last().await.unwrap().fence
        }
    }

    /// Waits until a leader with a higher fence has written, and answers who that is and its fence.
    #[track_caller]
    pub(crate) fn led_after(&self, fence: u64) -> impl Future<Output = (String, u64)> {
        let mut next = None;
        async move {
            until_elected(async || {
                next = self.log().await.into_iter().find(|write| write.accepted && write.fence > fence);
                next.is_some()
            })
            .await;
            next.map(|write| (write.leader, write.fence)).unwrap()
        }
    }
}

impl Leader {
    /// Tells the command to end by itself.
    pub(crate) fn end(&self) {
        std::fs::write(&self.end, "").unwrap();
    }

    pub(crate) async fn ended(self) -> Ran {
        self.locker.ended().await
    }

    pub(crate) fn id(&self) -> Pid {
        Pid::from_raw(self.locker.child.id().unwrap().try_into().unwrap())
    }

    /// Sends a signal to the runner, its guardian, and its command with all that it started, as if their machine was paused.
    pub(crate) fn send_all(&self, signal: Signal) {
        let id = self.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
        // The first of them may end the others before they can be told.
        _ = kill(id, signal);
        for child in children.split_whitespace().map(|child| Pid::from_raw(child.parse().unwrap())) {
            // The guardian and the command have groups of their own.
            _ = killpg(child, signal);
        }
    }
}
