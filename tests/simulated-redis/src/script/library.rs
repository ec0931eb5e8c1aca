//! The functions of the server that scripts call.

use std::fmt::{self, Display, Formatter};

use mlua::{MultiValue, Value as LuaValue};

use super::engine::argument;
use crate::call::Call;
use crate::client::ClientId;
use crate::command::{Command, DENY_OOM, NO_SCRIPT, STALE, WRITE};
use crate::server::{Condition, OUT_OF_MEMORY, STALE_REPLICA};
use crate::state::State;
use crate::value::Reply;
use crate::version::{ScriptRefusal, Version};

/// A script while it runs.
pub(super) struct Script<'a> {
    state: &'a mut State,
    client: ClientId,
    asking: bool,
    /// Whether it has written: then it may finish, although there is no memory.
    has_written: bool,
}

/// The error of a command, as a script sees it.
#[derive(Debug)]
pub(super) struct Raised(String);

impl Raised {
    pub(super) fn error(text: String) -> mlua::Error {
        mlua::Error::external(Self(text))
    }
}

impl Display for Raised {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Raised {}

/// The message of an error that a command raised.
pub(super) fn describe(error: &LuaValue) -> Option<String> {
    let LuaValue::Error(error) = error else { return None };
    let raised = error.chain().find_map(|cause| cause.downcast_ref::<Raised>());
    Some(raised.map_or_else(|| format!("ERR {error}"), |raised| raised.0.clone()))
}

impl<'a> Script<'a> {
    pub(super) fn new(call: &'a mut Call<'_>, asking: bool) -> Self {
        Self { state: call.state, client: call.client, asking, has_written: false }
    }

    pub(super) fn version(&self) -> Version {
        self.state.version
    }

    /// `redis.call`.
    pub(super) fn execute(&mut self, args: MultiValue) -> Reply {
        let args = self.arguments(&args)?;
        let refuse = |refusal| self.state.version.script_refusal(refusal).to_owned();
        let named = Command::named(self.state.version, &args);
        let command = named.ok_or_else(|| match Command::unknown_subcommand(&args) {
            Some(text) if self.state.version == Version::Valkey9 => text,
            _ => refuse(ScriptRefusal::Unknown),
        })?;
        if !command.accepts(self.state.version, args.len()) {
            return Err(refuse(ScriptRefusal::Arity));
        }
        if command.is(NO_SCRIPT) {
            return Err(refuse(ScriptRefusal::NoScript));
        }
        self.admit(command, &args)?;
        self.has_written |= command.is(WRITE);
        let routed = self.state.route(self.client, command, &args, self.asking);
        routed.map_err(|(_, text)| text)?;
        (command.run)(&mut Call { state: self.state, client: self.client, args: &args, scripted: true })
    }

    /// `redis.acl_check_cmd`.
    pub(super) fn check(&mut self, args: MultiValue) -> Result<bool, String> {
        let args = self.arguments(&args)?;
        let library = if self.state.version.is_valkey() { "server" } else { "redis" };
        let command = Command::named(self.state.version, &args)
            .ok_or_else(|| format!("ERR Invalid command passed to {library}.acl_check_cmd()"))?;
        Ok(self.state.user(self.client).is_none_or(|(_, user)| user.check(command, &args).is_ok()))
    }

    fn arguments(&self, args: &MultiValue) -> Result<Vec<Vec<u8>>, String> {
        let version = self.state.version;
        if args.is_empty() {
            return Err(version.script_refusal(ScriptRefusal::NoArguments).to_owned());
        }
        let texts: Option<Vec<_>> = args.iter().map(|value| argument(value, version)).collect();
        texts.ok_or_else(|| version.script_refusal(ScriptRefusal::Type).to_owned())
    }

    fn admit(&self, command: &'static Command, args: &[Vec<u8>]) -> Result<(), String> {
        let state = &self.state;
        if state.condition == Condition::Stale && !command.is(STALE) {
            return Err(STALE_REPLICA.to_owned());
        }
        let lacks_memory = state.is_out_of_memory() && command.is(DENY_OOM) && !self.has_written;
        if lacks_memory && state.version == Version::Valkey9 {
            return Err(OUT_OF_MEMORY.to_owned());
        }
        if let Some((name, user)) = state.user(self.client) {
            let checked = user.check(command, args);
            checked.map_err(|denied| denied.text_in_script(state.version, name, command.name))?;
        }
        if command.is(WRITE) {
            state.admit_write()?;
        }
        if lacks_memory {
            return Err(OUT_OF_MEMORY.to_owned());
        }
        Ok(())
    }
}
