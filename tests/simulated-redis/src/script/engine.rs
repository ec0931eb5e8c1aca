//! Compiles scripts and runs them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use mlua::{Function, Lua, LuaOptions, MultiValue, StdLib, Table, Value as LuaValue};
use redis::Value;

use super::convert::{single_field, to_lua, to_reply};
use super::library::{self, Raised, Script};
use crate::call::Call;
use crate::value::{Reply, bulk};
use crate::version::Version;

/// So many hexadecimal digits are a hash.
const HASH_LENGTH: usize = 40;

thread_local! {
    /// Starting an interpreter and compiling scripts takes long, and what is left of a script is only its code.
    static ENGINES: RefCell<BTreeMap<Version, Arc<Mutex<Engine>>>> = const { RefCell::new(BTreeMap::new()) };
}

/// The Lua interpreter of the servers of a version. All servers of a thread share it.
pub(crate) struct Engine {
    lua: Lua,
    /// What scripts see as the table `redis`.
    library: Table,
    environment: Table,
    run: Function,
    /// The compiled scripts by their hashes. Whether the server knows them is its state.
    compiled: BTreeMap<String, Function>,
}

impl Engine {
    /// # Panics
    /// Only if there is no memory.
    #[expect(clippy::expect_used, reason = "the prelude is known to compile")]
    pub(crate) fn of(version: Version) -> Arc<Mutex<Self>> {
        let start = || Arc::new(Mutex::new(Self::start(version).expect("the interpreter starts")));
        ENGINES.with_borrow_mut(|engines| engines.entry(version).or_insert_with(start).clone())
    }

    fn start(version: Version) -> mlua::Result<Self> {
        let libraries = StdLib::STRING | StdLib::TABLE | StdLib::MATH;
        let lua = Lua::new_with(libraries, LuaOptions::new().catch_rust_panics(false))?;
        // Random numbers would not come from the seed.
        let math: Table = lua.globals().get("math")?;
        math.set("random", LuaValue::Nil)?;
        math.set("randomseed", LuaValue::Nil)?;
        let library = lua.create_table()?;
        library.set("sha1hex", lua.create_function(|_, text: mlua::String| Ok(hash(&text.as_bytes())))?)?;
        let describe = lua.create_function(|_, error: LuaValue| Ok(library::describe(&error)))?;
        let names: &[&str] = if version.is_valkey() { &["redis", "server"] } else { &["redis"] };
        let prelude = lua.load(include_str!("prelude.lua")).set_name("@prelude");
        let (environment, run) = prelude.call((describe, library.clone(), names))?;
        Ok(Self { lua, library, environment, run, compiled: BTreeMap::new() })
    }

    /// `SCRIPT LOAD`.
    pub(crate) fn load(&mut self, call: &mut Call<'_>) -> Reply {
        let sha = self.compile(call, call.args[2].clone())?;
        Ok(bulk(sha))
    }

    /// `EVAL`.
    pub(crate) fn eval(&mut self, call: &mut Call<'_>, asking: bool) -> Reply {
        let keys = count_keys(call)?;
        let sha = self.compile(call, call.args[1].clone())?;
        self.run(call, &sha, keys, asking)
    }

    /// `EVALSHA`.
    pub(crate) fn eval_known(&mut self, call: &mut Call<'_>, asking: bool) -> Reply {
        let sha = call.word(1);
        if sha.len() != HASH_LENGTH {
            return Err(call.state.version.no_script().to_owned());
        }
        let keys = count_keys(call)?;
        if !call.state.scripts.contains_key(&sha) {
            return Err(call.state.version.no_script().to_owned());
        }
        self.run(call, &sha, keys, asking)
    }

    fn compile(&mut self, call: &mut Call<'_>, code: Vec<u8>) -> Result<String, String> {
        let sha = hash(&code);
        if !self.compiled.contains_key(&sha) {
            let chunk = self.lua.load(&code).set_name("@user_script").set_environment(self.environment.clone());
            let function = chunk.into_function().map_err(|error| match error {
                mlua::Error::SyntaxError { message, .. } => {
                    format!("ERR Error compiling script (new function): {message}")
                }
                error => format!("ERR {error}"),
            })?;
            self.compiled.insert(sha.clone(), function);
        }
        call.state.scripts.insert(sha.clone(), code);
        Ok(sha)
    }

    fn run(&mut self, call: &mut Call<'_>, sha: &str, keys: usize, asking: bool) -> Reply {
        let Some(function) = self.compiled.get(sha).cloned() else {
            return Err(call.state.version.no_script().to_owned());
        };
        let (version, args) = (call.state.version, call.args);
        let (keys, args) = args[3..].split_at(keys);
        let script = Script::new(call, asking);
        let reply = self.run_function(&function, keys, args, script);
        reply.unwrap_or_else(|error| Err(Failure::Returned(format!("ERR {error}")))).map_err(|failure| match failure {
            Failure::Returned(text) => text,
            Failure::Raised { text, line } => version.script_failure(&text, sha, line.as_deref()),
        })
    }

    fn run_function(
        &self,
        function: &Function,
        keys: &[Vec<u8>],
        args: &[Vec<u8>],
        script: Script<'_>,
    ) -> mlua::Result<Result<Value, Failure>> {
        let offers_acl = script.version() > Version::Redis6;
        let script = RefCell::new(script);
        self.lua.scope(|scope| {
            let call = scope.create_function(|lua, args: MultiValue| {
                let reply = script.borrow_mut().execute(args);
                to_lua(lua, &reply.map_err(Raised::error)?)
            })?;
            let protected_call =
                scope.create_function(|lua, args: MultiValue| match script.borrow_mut().execute(args) {
                    Ok(reply) => to_lua(lua, &reply),
                    Err(text) => single_field(lua, "err", &text),
                })?;
            let check =
                scope.create_function(|_, args: MultiValue| script.borrow_mut().check(args).map_err(Raised::error))?;
            self.library.set("call", call)?;
            self.library.set("pcall", protected_call)?;
            if offers_acl {
                self.library.set("acl_check_cmd", check)?;
            }
            let (succeeded, value): (bool, LuaValue) =
                self.run.call((function, self.strings(keys)?, self.strings(args)?))?;
            outcome(succeeded, &value)
        })
    }

    fn strings(&self, texts: &[Vec<u8>]) -> mlua::Result<Table> {
        let strings = texts.iter().map(|text| self.lua.create_string(text)).collect::<mlua::Result<Vec<_>>>()?;
        self.lua.create_sequence_from(strings)
    }
}

/// Why a script has no reply.
enum Failure {
    /// It returned an error.
    Returned(String),
    /// It failed in a line.
    Raised { text: String, line: Option<String> },
}

fn outcome(succeeded: bool, value: &LuaValue) -> mlua::Result<Result<Value, Failure>> {
    if succeeded {
        return Ok(to_reply(value)?.map_err(Failure::Returned));
    }
    let LuaValue::Table(error) = value else { return Ok(Err(Failure::Returned("ERR unknown error".into()))) };
    let text = match error.raw_get("err")? {
        LuaValue::String(text) => text.to_string_lossy(),
        _ => "ERR unknown error".to_owned(),
    };
    Ok(Err(Failure::Raised { text, line: error.raw_get("line")? }))
}

/// How many of the arguments are keys.
fn count_keys(call: &Call<'_>) -> Result<usize, String> {
    let keys = usize::try_from(call.integer(2)?).map_err(|_| "ERR Number of keys can't be negative")?;
    if keys > call.args.len() - 3 {
        return Err("ERR Number of keys can't be greater than number of args".into());
    }
    Ok(keys)
}

fn hash(code: &[u8]) -> String {
    sha1_smol::Sha1::from(code).digest().to_string()
}

/// A text that a script gave.
pub(super) fn argument(value: &LuaValue, version: Version) -> Option<Vec<u8>> {
    match value {
        LuaValue::String(string) => Some(string.as_bytes().to_vec()),
        #[expect(clippy::cast_precision_loss, reason = "it is a double in Lua")]
        LuaValue::Integer(number) => Some(crate::number::format(version, *number as f64).into_bytes()),
        LuaValue::Number(number) => Some(crate::number::format(version, *number).into_bytes()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_the_one_that_servers_compute() {
        assert_eq!(hash(b""), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
    }
}
