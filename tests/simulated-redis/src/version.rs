//! What differs from one server to another.

/// A server program that the simulation imitates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// Redis 6.2, without `redis.acl_check_cmd`. Its error messages were not compared with a real server.
    Redis6,
    /// Redis 7.0.
    Redis7,
    /// Redis 8.2.
    Redis8,
    /// Valkey 8.1.
    Valkey8,
    /// Valkey 9.1.
    Valkey9,
}

impl Version {
    /// The version that a real server has, by its answer to `INFO server`.
    #[must_use]
    pub fn of(info: &str) -> Option<Self> {
        let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let major = |version: &str| version.split('.').next().and_then(|major| major.parse::<u32>().ok());
        match (field("valkey_version").and_then(major), field("redis_version").and_then(major)) {
            (Some(8), _) => Some(Self::Valkey8),
            (Some(9..), _) => Some(Self::Valkey9),
            (None, Some(6)) => Some(Self::Redis6),
            (None, Some(7)) => Some(Self::Redis7),
            (None, Some(8..)) => Some(Self::Redis8),
            _ => None,
        }
    }

    /// Whether a client that publishes to itself gets the message before the reply, as before Redis 7.2, or after it.
    #[must_use]
    pub fn sends_messages_first(self) -> bool {
        self.is_old()
    }

    pub(crate) fn is_valkey(self) -> bool {
        matches!(self, Self::Valkey8 | Self::Valkey9)
    }

    /// Whether the version is older than the changes of Redis 7.2.
    pub(crate) fn is_old(self) -> bool {
        matches!(self, Self::Redis6 | Self::Redis7)
    }

    pub(crate) fn number(self) -> &'static str {
        match self {
            Self::Redis6 => "6.2.0",
            Self::Redis7 => "7.0.15",
            Self::Redis8 => "8.2.3",
            Self::Valkey8 => "8.1.0",
            Self::Valkey9 => "9.1.2",
        }
    }

    pub(crate) fn program(self) -> &'static str {
        if self.is_valkey() { "valkey" } else { "redis" }
    }

    pub(crate) fn title(self) -> &'static str {
        if self.is_valkey() { "Valkey" } else { "Redis" }
    }

    pub(crate) fn no_script(self) -> &'static str {
        if self.is_valkey() { "NOSCRIPT No matching script." } else { "NOSCRIPT No matching script. Please use EVAL." }
    }

    /// What the server appends to the message of a script that failed in a line.
    pub(crate) fn script_failure(self, message: &str, sha: &str, line: Option<&str>) -> String {
        let Some(line) = line else { return message.to_owned() };
        match self {
            Self::Redis6 => format!("ERR Error running script (call to f_{sha}): @user_script:{line}: {message}"),
            Self::Valkey9 => format!("{message} script: on @user_script:{line}."),
            _ => format!("{message} script: {sha}, on @user_script:{line}."),
        }
    }

    /// Why a script's call fails before the command runs.
    pub(crate) fn script_refusal(self, refusal: ScriptRefusal) -> &'static str {
        use ScriptRefusal::{Arity, NoArguments, NoScript, Type, Unknown};
        match (refusal, self.is_valkey()) {
            (Unknown, false) => "ERR Unknown Redis command called from script",
            (Unknown, true) => "ERR Unknown command called from script",
            (Arity, false) => "ERR Wrong number of args calling Redis command from script",
            (Arity, true) => "ERR Wrong number of args calling command from script",
            (NoScript, _) if self == Self::Valkey9 => "ERR This Valkey command is not allowed from script",
            (NoScript, _) => "ERR This Redis command is not allowed from script",
            (NoArguments, false) => "ERR Please specify at least one argument for this redis lib call",
            (NoArguments, true) => "ERR Please specify at least one argument for this call",
            (Type, false) => "ERR Lua redis lib command arguments must be strings or integers",
            (Type, true) => "ERR Command arguments must be strings or integers",
        }
    }
}

#[derive(Clone, Copy)]
pub(crate) enum ScriptRefusal {
    Unknown,
    Arity,
    NoScript,
    NoArguments,
    Type,
}
