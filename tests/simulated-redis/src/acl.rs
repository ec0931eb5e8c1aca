//! Users and what they may do.

use std::collections::{BTreeMap, BTreeSet};

use crate::command::{Command, channels_of, keys_of};
use crate::glob;
use crate::version::Version;

#[derive(Clone, Debug, Default)]
pub(crate) struct User {
    pub(crate) enabled: bool,
    pub(crate) needs_no_password: bool,
    pub(crate) passwords: BTreeSet<Vec<u8>>,
    all_commands: bool,
    /// Exceptions, by command or `COMMAND|SUBCOMMAND`.
    commands: BTreeMap<String, bool>,
    keys: Vec<Vec<u8>>,
    channels: Vec<Vec<u8>>,
}

/// What a user lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    Command,
    Key,
    Channel,
}

impl User {
    /// The user of connections that did not log in.
    pub(crate) fn unlimited() -> Self {
        let mut user = Self::default();
        for rule in ["on", "nopass", "allkeys", "allchannels", "allcommands"] {
            _ = user.apply(rule.as_bytes());
        }
        user
    }

    /// Changes what the user may do, as a rule of `ACL SETUSER` says.
    pub(crate) fn apply(&mut self, rule: &[u8]) -> Result<(), String> {
        let lower = String::from_utf8_lossy(rule).to_ascii_lowercase();
        match &lower[..] {
            "on" => self.enabled = true,
            "off" => self.enabled = false,
            "nopass" => (self.needs_no_password, self.passwords) = (true, BTreeSet::new()),
            "resetpass" => (self.needs_no_password, self.passwords) = (false, BTreeSet::new()),
            "allkeys" => self.keys = vec![b"*".to_vec()],
            "resetkeys" => self.keys.clear(),
            "allchannels" => self.channels = vec![b"*".to_vec()],
            "resetchannels" => self.channels.clear(),
            "allcommands" | "+@all" => (self.all_commands, self.commands) = (true, BTreeMap::new()),
            "nocommands" | "-@all" => (self.all_commands, self.commands) = (false, BTreeMap::new()),
            "reset" => *self = Self::default(),
            _ => self.apply_word(rule, &lower)?,
        }
        Ok(())
    }

    fn apply_word(&mut self, rule: &[u8], lower: &str) -> Result<(), String> {
        match (rule.first(), &rule[1.min(rule.len())..]) {
            (Some(b'>'), password) => {
                self.needs_no_password = false;
                self.passwords.insert(password.to_vec());
            }
            (Some(b'<'), password) => _ = self.passwords.remove(password),
            (Some(b'~'), pattern) => self.keys.push(pattern.to_vec()),
            (Some(b'&'), pattern) => self.channels.push(pattern.to_vec()),
            (Some(sign @ (b'+' | b'-')), _) if Command::exists(&lower[1..]) => {
                self.set_command(&lower[1..], *sign == b'+');
            }
            (Some(b'+' | b'-'), _) => {
                let rule = String::from_utf8_lossy(rule);
                return Err(format!(
                    "ERR Error in ACL SETUSER modifier '{rule}': Unknown command or category name in ACL"
                ));
            }
            _ => {
                let rule = String::from_utf8_lossy(rule);
                return Err(format!("ERR Error in ACL SETUSER modifier '{rule}': Syntax error"));
            }
        }
        Ok(())
    }

    fn set_command(&mut self, name: &str, allowed: bool) {
        let subcommands = format!("{name}|");
        self.commands.retain(|other, _| !other.starts_with(&subcommands));
        self.commands.insert(name.to_owned(), allowed);
    }

    fn may_run(&self, name: &str) -> bool {
        let container = name.split('|').next().unwrap_or(name);
        let exception = self.commands.get(name).or_else(|| self.commands.get(container));
        exception.copied().unwrap_or(self.all_commands)
    }

    /// Whether the user may run a command on its keys and channels.
    pub(crate) fn check(&self, command: &Command, args: &[Vec<u8>]) -> Result<(), Denied> {
        let permitted = |patterns: &[Vec<u8>], text: &[u8]| patterns.iter().any(|pattern| glob::matches(pattern, text));
        if !self.may_run(command.name) {
            Err(Denied::Command)
        } else if !keys_of(command, args).iter().all(|key| permitted(&self.keys, key)) {
            Err(Denied::Key)
        } else if !channels_of(command, args).iter().all(|channel| permitted(&self.channels, channel)) {
            Err(Denied::Channel)
        } else {
            Ok(())
        }
    }
}

impl Denied {
    /// What a client is told.
    pub(crate) fn text(self, version: Version, user: &str, command: &str) -> String {
        if !version.is_old() {
            return format!("NOPERM {}", self.reason(user, command));
        }
        match self {
            Self::Command => format!("NOPERM this user has no permissions to run the '{command}' command"),
            Self::Key => "NOPERM this user has no permissions to access one of the keys used as arguments".into(),
            Self::Channel => {
                "NOPERM this user has no permissions to access one of the channels used as arguments".into()
            }
        }
    }

    /// What a script is told.
    pub(crate) fn text_in_script(self, version: Version, user: &str, command: &str) -> String {
        if !version.is_old() {
            return format!("ERR ACL failure in script: {}", self.reason(user, command));
        }
        match self {
            Self::Command => "ERR The user executing the script can't run this command or subcommand",
            Self::Key => {
                "ERR The user executing the script can't access at least one of the keys mentioned in the command arguments"
            }
            Self::Channel => "ERR The user executing the script can't publish to the channel mentioned in the command",
        }
        .to_owned()
    }

    fn reason(self, user: &str, command: &str) -> String {
        match self {
            Self::Command => format!("User {user} has no permissions to run the '{command}' command"),
            Self::Key => "No permissions to access a key".into(),
            Self::Channel => "No permissions to access a channel".into(),
        }
    }
}
