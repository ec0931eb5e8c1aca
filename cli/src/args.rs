//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args as Group, Parser, Subcommand, ValueEnum};
use locker_host::LockOptions;

const AFTER_HELP: &str = "\
Caches:
  local                                                  shared by the processes of this user on this machine
  local:/PATH                                            shared by the processes of this machine that may write to this folder
  memory                                                 of this process alone
  redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]         one server
  redis+unix:///PATH                                     one server on this machine
  redis+cluster://[USER:PASSWORD@]HOST[:PORT],HOST...    a cluster
  redis+sentinel://[USER:PASSWORD@]HOST[:PORT],HOST.../NAME[/DATABASE]
                                                         the primary that sentinels know as NAME
  URL,URL,URL                                            a quorum of independent servers
With rediss for redis, over TLS. With ?wait-replicas=N at the end, a lock counts only when N replicas
have confirmed it. Sentinels with a login of their own: ?sentinel-user=USER&sentinel-password=PASSWORD. Give a URL with a password through LOCKER_CACHE: arguments show in
lists of processes.

Exit codes:
  0    done
  1    the token does not hold the lock; for status: the lock is free; for hold --release: there is none
  64   wrong usage
  69   the cache is unavailable
  74   the lock was lost, or granted too late to count
  75   the lock is held by another (exec: see -E)
  78   refused or misconfigured; for check: there is a failure
  126  the command cannot be executed
  127  the command was not found
  128+N ended by signal N
exec and lead otherwise exit as their command does, run as the first of its plugins that failed: with 134 if
that one trapped or went beyond its limits.";

/// A distributed lock whose whole logic is one sandboxed WebAssembly component.
#[derive(Parser)]
#[command(name = "locker", version, after_help = AFTER_HELP, max_term_width = 100)]
pub(crate) struct Args {
    /// Where locks are kept, as below [default: local; for run: memory]
    #[arg(long, global = true, env = "LOCKER_CACHE", hide_env_values = true, value_name = "CACHE")]
    pub(crate) cache: Option<String>,

    /// A file with the certificates to trust instead of the system's, in PEM, for TLS
    #[arg(long, global = true, env = "LOCKER_CA", value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,

    /// A file with the certificate of this client, in PEM, for servers that ask for one
    #[arg(long, global = true, env = "LOCKER_CERT", value_name = "FILE", requires = "key")]
    pub(crate) cert: Option<PathBuf>,

    /// A file with the private key of that certificate, in PEM
    #[arg(long, global = true, env = "LOCKER_KEY", value_name = "FILE", requires = "cert")]
    pub(crate) key: Option<PathBuf>,

    /// How long to wait for a connection, and for each answer of the cache [default: 5s]
    #[arg(long, global = true, env = "LOCKER_TIMEOUT", value_name = "TIME", value_parser = duration)]
    pub(crate) timeout: Option<Duration>,

    /// What the cache's keys begin with [default: lock:]
    #[arg(long, global = true, value_name = "TEXT")]
    pub(crate) prefix: Option<String>,

    /// Answer in JSON on standard output
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// Say nothing but what went wrong
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Take a lock and print its token
    Lock {
        /// The lock: 1 to 512 bytes without control characters
        name: String,
        #[command(flatten)]
        options: Options,
        /// Hold it with this token, whose 32 hexadecimal digits you chose at random: a call that is repeated has the same lease
        /// while the token holds the lock; - reads it from standard input
        #[arg(long)]
        token: Option<String>,
    },
    /// Release a lock, or take it from its holder
    Unlock(Unlock),
    /// Give a lock a new time to live
    Extend {
        /// The lock
        name: String,
        /// What lock printed; - reads it from standard input
        #[arg(env = "LOCKER_TOKEN", hide_env_values = true)]
        token: String,
        /// The time to live from now, longer or shorter than what is left: 30s, 5min, 1h 30min
        #[arg(long, value_parser = duration)]
        ttl: Duration,
    },
    /// Show the holder of a lock
    Status {
        /// The lock
        name: String,
        /// Go on, and show each change of the holder, until interrupted
        #[arg(short, long)]
        watch: bool,
    },
    /// List the locks that are held
    ///
    /// This looks at every key in the store, a thousand at a time.
    List,
    /// Check that locks work on the cache: reachability, permissions, settings that lose locks, clocks, speed
    ///
    /// It takes locks of its own only. With --quiet it shows what is not ok, and with --json one document with all findings. It exits
    /// with 0 if there is no failure, and with 78 otherwise; a warning is no failure.
    Check,
    /// Run a command while holding a lock
    Exec(Exec),
    /// Hold a lock for the rest of a script
    Hold(Hold),
    /// Run a command on one machine at a time, and stand by on the others
    Lead(Lead),
    /// Run sandboxed plugins that share locks
    Run(Run),
    /// Measure what locks cost on a Redis server, beside what the server itself costs
    Bench(Bench),
    /// Write the WebAssembly component
    Component {
        /// The file to write instead of standard output
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Print the component's contract
    Wit,
    /// Print the completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print what may come next on a command line: the completions ask for it
    #[command(hide = true)]
    Candidates {
        /// The shell
        shell: clap_complete::Shell,
        /// What the shell knows of the line
        #[arg(last = true)]
        words: Vec<OsString>,
    },
    /// Print a page for man
    Man {
        /// The command that it is about, or else locker as a whole
        command: Option<String>,
    },
}

#[derive(Group)]
pub(crate) struct Unlock {
    /// The lock
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub(crate) name: Option<String>,

    /// What lock printed; - reads it from standard input
    #[arg(env = "LOCKER_TOKEN", hide_env_values = true, required_unless_present_any = ["force", "all"])]
    pub(crate) token: Option<String>,

    /// Take the lock from its holder without its token. The next waiter gets it, and a holder that guards it is
    /// told. Until that one stops, two may be at work
    #[arg(long)]
    pub(crate) force: bool,

    /// With --force: only from the holder with this fence
    #[arg(long, value_name = "N", requires = "force")]
    pub(crate) fence: Option<u64>,

    /// With --all: whose locks
    #[arg(long, value_name = "LABEL", requires = "all")]
    pub(crate) owner: Option<String>,

    /// Take all locks from the holders with the label --owner, as --force does
    #[arg(long, requires = "owner", conflicts_with_all = ["token", "force"])]
    pub(crate) all: bool,

    /// With --all: do not ask. Without a terminal, this is required
    #[arg(long, requires = "all")]
    pub(crate) yes: bool,
}

#[derive(Group)]
pub(crate) struct Options {
    /// How long the lock is held unless it is released or renewed: 500ms, 30s, 5min, 1h 30min
    #[arg(long, value_parser = duration, default_value = "30s")]
    pub(crate) ttl: Duration,

    /// How long to wait for a lock that is held, and for a cache that is away: a time, or forever [default: not at all]
    #[arg(long, value_name = "TIME", value_parser = wait)]
    wait: Option<Duration>,

    /// Do not wait, which is the default
    #[arg(long, conflicts_with = "wait")]
    no_wait: bool,

    /// A label of the holder, which other callers can read
    #[arg(long, value_name = "LABEL")]
    owner: Option<String>,
}

impl From<Options> for LockOptions {
    fn from(options: Options) -> Self {
        let lock = Self::from(options.ttl).wait(options.wait.unwrap_or_default());
        match options.owner {
            Some(owner) => lock.owner(owner),
            None => lock,
        }
    }
}

/// The lock is renewed every third of its time to live for as long as the command runs, and released after it. If it is
/// lost, because the cache is away for too long or another caller has the lock, the command is stopped.
///
/// The command finds the lock's name, fence and time to live in LOCKER_NAME, LOCKER_FENCE and LOCKER_TTL_MS, and the path of
/// a file with the token in LOCKER_TOKEN_FILE.
#[derive(Group)]
pub(crate) struct Exec {
    /// The lock: 1 to 512 bytes without control characters
    pub(crate) name: String,

    #[command(flatten)]
    pub(crate) options: Options,

    /// What becomes of the command if the lock is lost; locker exits with 74 in any case
    #[arg(long, value_name = "WHAT", default_value = "term")]
    pub(crate) on_lost: OnLost,

    /// How long a command that is asked to stop may take before it is killed. It is asked so much earlier, to be gone before
    /// another can hold the lock. At most half of --ttl [default: a fifth of --ttl, 5s at most]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) kill_after: Option<Duration>,

    /// Stop the command if it has not ended after this time; with --on-lost ignore, give up only the lock
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) max_hold: Option<Duration>,

    /// Keep the lock for this time even if the command is done sooner, though locker does not wait for that: among machines
    /// whose clocks differ, the one that comes late finds it held
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) min_hold: Option<Duration>,

    /// Run it once per this time: after a success, the lock stays taken until so long after it was acquired, and others learn that the
    /// work is done; after a failure, it is free at once, so that another machine can try
    #[arg(long, value_name = "TIME", value_parser = duration, conflicts_with = "min_hold")]
    pub(crate) once_per: Option<Duration>,

    /// The exit code if the lock is held by another
    #[arg(short = 'E', long, value_name = "CODE", default_value_t = 75)]
    pub(crate) conflict_exit_code: u8,

    #[command(flatten)]
    pub(crate) metrics: MetricsOptions,

    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

/// The lock is renewed in the background while the calling shell lives, and released when it ends, however it ends. A subshell,
/// ( locker hold NAME; ... ), holds it for a part of a script.
///
/// If the lock is lost, the shell is sent SIGTERM. It runs a trap for it after the command that is in its foreground.
#[derive(Group)]
pub(crate) struct Hold {
    /// The lock: 1 to 512 bytes without control characters
    pub(crate) name: String,

    #[command(flatten)]
    pub(crate) options: Options,

    /// The process that the lock is held for [default: the caller; in $(...), a pipeline or a wrapper, say --pid $$]
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(i32).range(1..))]
    pub(crate) pid: Option<i32>,

    /// What becomes of the shell if the lock is lost
    #[arg(long, value_name = "WHAT", default_value = "term")]
    pub(crate) on_lost: Notice,

    /// Release the lock that is held for this shell, before it ends
    #[arg(long, conflicts_with_all = ["ttl", "wait", "no_wait", "owner", "on_lost"])]
    pub(crate) release: bool,
}

/// What becomes of a shell that has lost its lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Notice {
    /// It is sent SIGTERM
    Term,
    /// It goes on without the lock
    Ignore,
}

/// The option of subcommands that run a job.
#[derive(Group)]
pub(crate) struct MetricsOptions {
    /// Write metrics of the job to this file when it ends: FOLDER/JOB.prom for the textfile collector of node_exporter
    #[arg(long, value_name = "FILE")]
    pub(crate) metrics_file: Option<PathBuf>,
}

/// Waits for the lock without an end, in the queue and through outages of the cache, and runs the command while it holds the
/// lock, as exec does. If the lock is lost, the command is stopped, and started anew with a higher fence when the lock is held again.
/// When the command ends by itself, the next one in the queue leads, and locker exits as the command did.
///
/// The command finds the same variables as under exec: at least LOCKER_NAME, LOCKER_FENCE and LOCKER_TTL_MS.
#[derive(Group)]
pub(crate) struct Lead {
    /// The lock: 1 to 512 bytes without control characters
    pub(crate) name: String,

    /// How long the others wait at most after a crash of this machine: 500ms, 30s, 5min
    #[arg(long, value_parser = duration, default_value = "30s")]
    pub(crate) ttl: Duration,

    /// A label of the leader, which other callers can read
    #[arg(long, value_name = "LABEL")]
    pub(crate) owner: Option<String>,

    /// What becomes of the command if the lock is lost: term asks it to stop, kill kills it
    #[arg(long, value_name = "WHAT", default_value = "term", value_parser = on_lost_lead())]
    pub(crate) on_lost: OnLost,

    /// How long a command that is asked to stop may take before it is killed. At most half of --ttl [default: a fifth of --ttl, 5s at most]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) kill_after: Option<Duration>,

    #[command(flatten)]
    pub(crate) metrics: MetricsOptions,

    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

/// A command that went on without the lock would be a second leader.
fn on_lost_lead() -> impl TypedValueParser<Value = OnLost> {
    PossibleValuesParser::new(["term", "kill"]).map(|what| if what == "kill" { OnLost::Kill } else { OnLost::Term })
}

/// What becomes of a command that has lost its lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnLost {
    /// It is asked to stop, and killed if it does not
    Term,
    /// It is killed
    Kill,
    /// It goes on without the lock
    Ignore,
}

/// Plugins are WebAssembly components for the world wasi:cli/command, in any language, that may import the interface
/// locker:locker/locker (see locker wit). Each runs in a sandbox, with the locks of its namespace, and no files, network or
/// environment but what is granted here. What it writes comes out line by line, with its name in front. The locks that it has
/// left when it ends are released.
#[derive(Group)]
pub(crate) struct Run {
    /// The plugins
    #[arg(required = true, value_name = "PLUGIN.wasm")]
    pub(crate) plugins: Vec<PathBuf>,

    /// How many instances of each run
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) instances: u16,

    /// One namespace for all of them, whose locks they share. Outside of it, the lock NAME is called NAMESPACE/NAME
    /// [default: one for each, called as its file is]
    #[arg(long)]
    pub(crate) namespace: Option<String>,

    /// Grant a folder, for reading and writing
    #[arg(long = "dir", value_name = "HOST[::GUEST]")]
    pub(crate) dirs: Vec<String>,

    /// Grant a variable of the environment, with this value or as it is
    #[arg(long = "env", value_name = "NAME[=VALUE]")]
    pub(crate) environment: Vec<String>,

    /// Grant standard input, to a single plugin
    #[arg(long)]
    pub(crate) stdin: bool,

    /// Grant more
    #[arg(short = 'S', long = "wasi", value_name = "GRANT", value_delimiter = ',')]
    pub(crate) grants: Vec<Grant>,

    /// Limit each instance: max-memory-size=BYTES [default: 256 MiB], timeout=TIME [default: none]
    #[arg(short = 'W', long = "wasm", value_name = "LIMIT", value_delimiter = ',', value_parser = limit)]
    pub(crate) limits: Vec<Limit>,

    /// The arguments of each plugin
    #[arg(last = true, value_name = "ARGUMENT")]
    pub(crate) arguments: Vec<String>,
}

/// Takes and releases locks under a prefix of its own, in turns with the same scripts sent by a plain client, and hands a lock from one
/// waiter to the next, in turns with a plain signal by BLPOP. Medians count.
#[derive(Group)]
pub(crate) struct Bench {
    /// How long each measurement takes
    #[arg(long = "for", value_name = "TIME", value_parser = duration, default_value = "3s")]
    pub(crate) time: Duration,

    /// How many clients lock and unlock at a time
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub(crate) clients: usize,

    /// Among how many waiters a lock is handed on
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "2,4,8,16,64")]
    pub(crate) waiters: Vec<usize>,

    /// Write a chart to this file, too
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
}

/// What a plugin can be granted as a whole.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Grant {
    /// All variables of the environment
    InheritEnv,
    /// The network
    InheritNetwork,
    /// Asking for the addresses of names
    AllowIpNameLookup,
}

/// What an instance of a plugin may not go beyond.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Limit {
    MaxMemorySize(usize),
    Timeout(Duration),
}

/// A duration like 500ms, 30s or 1h 30min. Without a unit, it is in seconds, as for sleep and timeout.
fn duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse() {
        return Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string());
    }
    humantime::parse_duration(text).map_err(|error| error.to_string())
}

/// A duration, or one without an end.
fn wait(text: &str) -> Result<Duration, String> {
    if text == "forever" { Ok(Duration::MAX) } else { duration(text) }
}

/// A number of bytes, or of the multiples K, M and G of 1024.
fn size(text: &str) -> Result<usize, String> {
    let multiples = [('K', 10), ('M', 20), ('G', 30)];
    let multiple = multiples.into_iter().find(|(letter, _)| text.ends_with(*letter));
    let number = multiple.map_or(text, |(letter, _)| text.trim_end_matches(letter));
    let bytes =
        number.parse().ok().and_then(|number: usize| number.checked_mul(1 << multiple.map_or(0, |(_, bits)| bits)));
    bytes.ok_or_else(|| format!("{text:?} is no number of bytes: write 67108864 or 64M"))
}

fn limit(text: &str) -> Result<Limit, String> {
    match text.split_once('=') {
        Some(("max-memory-size", bytes)) => size(bytes).map(Limit::MaxMemorySize),
        Some(("timeout", time)) => duration(time).map(Limit::Timeout),
        _ => Err("it is neither max-memory-size=BYTES nor timeout=TIME".to_owned()),
    }
}
