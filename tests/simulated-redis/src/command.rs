//! The commands that a server knows.

use crate::call::Call;
use crate::commands::{collections, connection, keys, pubsub, scan, server, sorted_sets, strings};
use crate::number::parse_integer;
use crate::value::{Reply, text};
use crate::version::Version;

pub(crate) struct Command {
    /// In lower case; of a subcommand `COMMAND|SUBCOMMAND`.
    pub(crate) name: &'static str,
    /// The number of words, the name included; if it is negative, the least number.
    arity: i32,
    pub(crate) flags: u16,
    keys: Keys,
    pub(crate) run: fn(&mut Call<'_>) -> Reply,
}

/// Where the keys are.
#[derive(Clone, Copy)]
enum Keys {
    None,
    First,
    All,
    /// After their number, as for `EVAL`.
    Counted,
}

/// The command writes.
pub(crate) const WRITE: u16 = 1;
/// It is refused without memory.
pub(crate) const DENY_OOM: u16 = 2;
/// Scripts cannot run it.
pub(crate) const NO_SCRIPT: u16 = 4;
/// A replica without its primary runs it.
pub(crate) const STALE: u16 = 8;
/// It runs while the server loads its data.
pub(crate) const LOADING: u16 = 16;
/// It needs no login.
pub(crate) const NO_AUTH: u16 = 32;
/// It runs while a script does not end.
pub(crate) const ALLOW_BUSY: u16 = 64;
/// It only reads.
pub(crate) const READ: u16 = 128;

macro_rules! commands {
    ($($name:literal $arity:literal $flags:expr, $keys:ident => $run:path;)+) => {
        &[$(Command { name: $name, arity: $arity, flags: $flags, keys: Keys::$keys, run: $run }),+]
    };
}

const COMMANDS: &[Command] = commands! {
    "get" 2 READ, First => strings::get;
    "getrange" 4 READ, First => strings::get_range;
    "set" -3 WRITE | DENY_OOM, First => strings::set;
    "mget" -2 READ, All => strings::multi_get;
    "del" -2 WRITE, All => keys::delete;
    "exists" -2 READ, All => keys::exists;
    "type" 2 READ, First => keys::type_of;
    "pttl" 2 READ, First => keys::time_left;
    "pexpire" -3 WRITE, First => keys::expire;
    "persist" 2 WRITE, First => keys::persist;
    "scan" -2 READ, None => scan::scan;
    "flushall" -1 WRITE, None => keys::flush_all;
    "dbsize" 1 READ, None => keys::size;
    "zadd" -4 WRITE | DENY_OOM, First => sorted_sets::add;
    "zrem" -3 WRITE, First => sorted_sets::remove;
    "zrange" -4 READ, First => sorted_sets::range;
    "zrank" -3 READ, First => sorted_sets::rank;
    "zscore" 3 READ, First => sorted_sets::score;
    "zcard" 2 READ, First => sorted_sets::count;
    "hset" -4 WRITE | DENY_OOM, First => collections::hash_set;
    "hget" 3 READ, First => collections::hash_get;
    "lpush" -3 WRITE | DENY_OOM, First => collections::push_left;
    "rpush" -3 WRITE | DENY_OOM, First => collections::push_right;
    "lrange" 4 READ, First => collections::list_range;
    "sadd" -3 WRITE | DENY_OOM, First => collections::set_add;
    "publish" 3 STALE | LOADING, None => pubsub::publish;
    "subscribe" -2 NO_SCRIPT | STALE | LOADING, None => pubsub::subscribe;
    "unsubscribe" -1 NO_SCRIPT | STALE | LOADING, None => pubsub::unsubscribe;
    "pubsub" -2 0, None => connection::container;
    "pubsub|numsub" -2 STALE | LOADING, None => pubsub::count_subscribers;
    "pubsub|channels" -2 STALE | LOADING, None => pubsub::channels;
    "eval" -3 NO_SCRIPT | STALE, Counted => connection::container;
    "evalsha" -3 NO_SCRIPT | STALE, Counted => connection::container;
    "script" -2 NO_SCRIPT, None => connection::container;
    "script|load" 3 NO_SCRIPT | STALE, None => connection::container;
    "script|flush" -2 NO_SCRIPT, None => server::flush_scripts;
    "script|exists" -3 NO_SCRIPT, None => server::scripts_exist;
    "script|kill" 2 NO_SCRIPT | STALE | ALLOW_BUSY, None => server::kill_script;
    "time" 1 STALE | LOADING, None => server::time;
    "info" -1 STALE | LOADING, None => server::info;
    "wait" 3 NO_SCRIPT, None => server::wait;
    "role" 1 NO_SCRIPT | STALE | LOADING, None => server::role;
    "cluster" -2 0, None => connection::container;
    "cluster|slots" 2 STALE | LOADING, None => server::cluster_slots;
    "ping" -1 0, None => connection::ping;
    "hello" -1 NO_SCRIPT | STALE | LOADING | NO_AUTH | ALLOW_BUSY, None => connection::hello;
    "auth" -2 NO_SCRIPT | STALE | LOADING | NO_AUTH | ALLOW_BUSY, None => connection::auth;
    "select" 2 STALE | LOADING, None => connection::select;
    "asking" 1 0, None => connection::asking;
    "readonly" 1 STALE | LOADING, None => connection::read_only;
    "client" -2 0, None => connection::container;
    "client|setinfo" 4 NO_SCRIPT | STALE | LOADING, None => connection::set_info;
    "client|setname" 3 NO_SCRIPT | STALE | LOADING, None => connection::set_info;
    "client|id" 2 NO_SCRIPT | STALE | LOADING, None => connection::id;
    "acl" -2 0, None => connection::container;
    "acl|setuser" -3 NO_SCRIPT | STALE | LOADING, None => server::set_user;
    "acl|whoami" 2 NO_SCRIPT | STALE | LOADING, None => server::who_am_i;
};

impl Command {
    /// The command that is called by these words, or why it cannot be called.
    pub(crate) fn find(version: Version, args: &[Vec<u8>]) -> Result<&'static Self, String> {
        let Some(command) = Self::named(version, args) else { return Err(unknown(args)) };
        if command.accepts(version, args.len()) {
            return Ok(command);
        }
        Err(format!("ERR wrong number of arguments for '{}' command", command.name))
    }

    /// The command without a check of the number of words.
    pub(crate) fn named(version: Version, args: &[Vec<u8>]) -> Option<&'static Self> {
        let name = text(args.first()?).to_ascii_lowercase();
        let command = named(&name)?;
        let Some(subcommand) = args.get(1).filter(|_| command.is_container()) else { return Some(command) };
        let found = named(&format!("{name}|{}", text(subcommand).to_ascii_lowercase()))?;
        (found.name != "client|setinfo" || !version.is_old()).then_some(found)
    }

    /// What is said of a command that exists, but not with this subcommand.
    pub(crate) fn unknown_subcommand(args: &[Vec<u8>]) -> Option<String> {
        let name = text(args.first()?);
        named(&name.to_ascii_lowercase())?;
        let subcommand = args.get(1).map(|word| text(word)).unwrap_or_default();
        Some(format!("ERR unknown subcommand '{subcommand:.128}'. Try {} HELP.", name.to_ascii_uppercase()))
    }

    pub(crate) fn exists(name: &str) -> bool {
        named(name).is_some()
    }

    pub(crate) fn accepts(&self, version: Version, words: usize) -> bool {
        let arity = if self.name == "zrank" && version.is_old() { 3 } else { self.arity };
        let words = i32::try_from(words).unwrap_or(i32::MAX);
        if arity < 0 { words >= -arity } else { words == arity }
    }

    pub(crate) fn is(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    pub(crate) fn has_keys(&self) -> bool {
        !matches!(self.keys, Keys::None)
    }

    fn is_container(&self) -> bool {
        matches!(self.name, "pubsub" | "script" | "cluster" | "client" | "acl")
    }
}

fn named(name: &str) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| command.name == name)
}

fn unknown(args: &[Vec<u8>]) -> String {
    const LONGEST: usize = 128;
    if let Some(text) = Command::unknown_subcommand(args) {
        return text;
    }
    let name = args.first().map(|name| text(name)).unwrap_or_default();
    let mut quoted = String::new();
    for word in args.iter().skip(1) {
        if quoted.len() >= LONGEST {
            break;
        }
        quoted += &format!("'{:.*}' ", LONGEST - quoted.len(), text(word));
    }
    format!("ERR unknown command '{name:.128}', with args beginning with: {quoted}")
}

/// The keys among the words of a command.
pub(crate) fn keys_of<'a>(command: &Command, args: &'a [Vec<u8>]) -> &'a [Vec<u8>] {
    match command.keys {
        Keys::None => &[],
        Keys::First => args.get(1..2).unwrap_or_default(),
        Keys::All => args.get(1..).unwrap_or_default(),
        Keys::Counted => {
            let count = args.get(2).and_then(|count| parse_integer(count).ok()).and_then(|count| count.try_into().ok());
            let end = count.and_then(|count: usize| count.checked_add(3));
            end.and_then(|end| args.get(3..end)).unwrap_or_default()
        }
    }
}

/// The channels among the words of a command that a user needs a permission for.
pub(crate) fn channels_of<'a>(command: &Command, args: &'a [Vec<u8>]) -> &'a [Vec<u8>] {
    match command.name {
        "publish" => args.get(1..2).unwrap_or_default(),
        "subscribe" => args.get(1..).unwrap_or_default(),
        _ => &[],
    }
}
